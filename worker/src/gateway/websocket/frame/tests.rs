use tokio_tungstenite::tungstenite::protocol::frame::{Frame as TheirFrame, FrameHeader, coding::CloseCode};

use super::*;

/// A client's frame, encoded by tungstenite.
fn frame(opcode: OpCode, fin: bool, payload: &[u8]) -> Vec<u8> {
    let header =
        FrameHeader { is_final: fin, opcode, mask: Some([0x37, 0xfa, 0x21, 0x3d]), ..Default::default() };
    let mut bytes = Vec::new();
    TheirFrame::from_payload(header, payload.to_vec().into()).format(&mut bytes).unwrap();
    bytes
}

const BINARY: OpCode = OpCode::Data(Data::Binary);
const CONTINUE: OpCode = OpCode::Data(Data::Continue);
const TEXT: OpCode = OpCode::Data(Data::Text);
const PING: OpCode = OpCode::Control(Control::Ping);
const CLOSE: OpCode = OpCode::Control(Control::Close);

/// Decodes `bytes` in pieces. Returns the payload, all pongs, and the end.
fn decode_in_pieces(bytes: &[u8], piece: usize) -> (Vec<u8>, Vec<Vec<u8>>, Option<End>) {
    let mut decoder = Decoder::new(false);
    let (mut payload, mut pongs) = (Vec::new(), Vec::new());
    for part in bytes.chunks(piece) {
        let mut buf = part.to_vec();
        let decoded = decoder.decode(&mut buf);
        payload.extend_from_slice(&buf[decoded.payload]);
        pongs.extend(decoder.take_pong().map(|pong| pong.as_slice().to_vec()));
        if decoded.end.is_some() {
            return (payload, pongs, decoded.end);
        }
    }
    (payload, pongs, None)
}

#[test]
fn frames_of_every_length_form_decode_in_any_pieces() {
    let lengths = [0, 1, 3, 125, 126, 127, 300, 65535, 65536, 70000];
    let payloads: Vec<Vec<u8>> = lengths.iter().map(|len| (0..251).cycle().take(*len).collect()).collect();
    let bytes: Vec<u8> = payloads.iter().flat_map(|payload| frame(BINARY, true, payload)).collect();
    for piece in [1, 2, 3, 5, 7, 13, 14, 15, 100, 4096, 65550, bytes.len()] {
        let (payload, _, end) = decode_in_pieces(&bytes, piece);
        assert_eq!(end, None);
        assert!(payload == payloads.concat(), "in pieces of {piece}");
    }
}

/// Any frame between short messages decodes alike, at once or byte by byte.
#[test]
fn short_messages_in_a_row_are_frames_like_others() {
    let short: Vec<u8> = (0..=130).flat_map(|len| frame(BINARY, true, &vec![b'x'; len])).collect();
    let others = [
        frame(TEXT, true, b"text"),
        frame(PING, true, b"ping"),
        [frame(BINARY, false, b"one"), frame(BINARY, true, b"two")].concat(),
        [frame(BINARY, false, b"one"), frame(CONTINUE, true, b"two")].concat(),
        vec![0xc2, 0x81, 0, 0, 0, 0, 0],
        vec![0x82, 0x01, 0],
        vec![0x82, 0xfe, 0, 1, 0, 0, 0, 0, 0],
        vec![0x82, 0x85, 1, 2, 3, 4, 5],
        vec![0x82, 0x85, 1],
        frame(CLOSE, true, &[3, 232]),
    ];
    for other in others {
        for accept_text in [false, true] {
            let bytes = [&short[..], &other, &short].concat();
            let [at_once, one_by_one] = [bytes.len(), 1].map(|piece| {
                let mut decoder = Decoder::new(accept_text);
                let (mut payload, mut end) = (Vec::new(), None);
                for part in bytes.chunks(piece) {
                    if end.is_some() {
                        break;
                    }
                    let mut buf = part.to_vec();
                    let decoded = decoder.decode(&mut buf);
                    payload.extend_from_slice(&buf[decoded.payload]);
                    end = decoded.end;
                }
                (payload, end, decoder.frames(), decoder.is_within_frame(), decoder.take_pong())
            });
            assert!(at_once == one_by_one, "{other:02x?}, text accepted: {accept_text}");
        }
    }
}

#[test]
fn control_frames_between_fragments_leave_the_data_alone() {
    let bytes = [
        frame(BINARY, false, b"ab"),
        frame(PING, true, b"one"),
        frame(CONTINUE, false, b""),
        frame(PING, true, b"two"),
        frame(CONTINUE, true, b"cd"),
        frame(CLOSE, true, &[3, 232, b'x']),
        frame(BINARY, true, b"behind Close"),
    ]
    .concat();
    for piece in 1..bytes.len() {
        let (payload, pongs, end) = decode_in_pieces(&bytes, piece);
        assert_eq!(payload, b"abcd");
        assert_eq!(pongs.last().unwrap(), b"two");
        let Some(End::Close(close)) = end else { panic!("ended with {end:?}") };
        assert_eq!((close.code, close.echo.as_slice()), (1000, &[3, 232, b'x'][..]));
    }
}

#[test]
fn each_violation_is_found() {
    let fragment = frame(BINARY, false, b"a");
    let with = |at: usize, value: u8, mut bytes: Vec<u8>| {
        bytes[at] = value;
        bytes
    };
    let cases = [
        (with(1, 1, frame(BINARY, true, b"a")), Violation::Unmasked),
        (with(0, 0xc2, frame(BINARY, true, b"a")), Violation::ReservedBits),
        (with(0, 0x83, frame(BINARY, true, b"a")), Violation::UnknownOpcode(3)),
        (with(0, 0x8b, frame(BINARY, true, b"a")), Violation::UnknownOpcode(11)),
        (frame(TEXT, true, b"a"), Violation::Text),
        (frame(PING, true, &[0; 126]), Violation::LongControl),
        (frame(PING, false, b""), Violation::FragmentedControl),
        (frame(CONTINUE, true, b"a"), Violation::UnexpectedContinuation),
        ([fragment.clone(), frame(BINARY, true, b"b")].concat(), Violation::ExpectedContinuation),
        (vec![0x82, 0xfe, 0, 125, 0, 0, 0, 0], Violation::BadLength),
        (vec![0x82, 0xff, 0, 0, 0, 0, 0, 0, 255, 255, 0, 0, 0, 0], Violation::BadLength),
        (vec![0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Violation::BadLength),
        (frame(CLOSE, true, b"x"), Violation::BadClosePayload),
        (frame(CLOSE, true, &[3, 237]), Violation::BadCloseCode),
        (frame(CLOSE, true, &[3, 232, 0xff]), Violation::BadCloseReason),
    ];
    for (bytes, violation) in cases {
        for piece in [1, bytes.len()] {
            let (_, _, end) = decode_in_pieces(&bytes, piece);
            assert_eq!(end, Some(End::Violation(violation)), "{bytes:02x?} in pieces of {piece}");
        }
    }
}

#[test]
fn a_header_that_announces_the_largest_payload_allocates_nothing() {
    let mut decoder = Decoder::new(false);
    let mut header = [0x82, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0];
    assert_eq!(decoder.decode(&mut header), Decoded { payload: 0..0, end: None });
    let mut payload = [7; 1000];
    assert_eq!(decoder.decode(&mut payload), Decoded { payload: 0..1000, end: None });
}

#[test]
fn written_headers_are_read_back() {
    for len in [0, 1, 125, 126, 65535, 65536, 1 << 20] {
        let mut buf = vec![0; MAX_SERVER_HEADER + 2];
        let start = write_header(&mut buf, MAX_SERVER_HEADER, BINARY, len);
        let mut cursor = std::io::Cursor::new(&buf[start..]);
        let (header, parsed) = FrameHeader::parse(&mut cursor).unwrap().unwrap();
        assert!(header.is_final && header.mask.is_none() && header.opcode == BINARY);
        assert_eq!(parsed, len as u64);
        assert_eq!(cursor.position(), (MAX_SERVER_HEADER - start) as u64);
    }
    let frame = control_frame(Control::Close, &ControlPayload::close(CloseCode::Normal, "Target closed"));
    assert_eq!(frame, [&[0x88, 15, 3, 232][..], b"Target closed"].concat());
}
