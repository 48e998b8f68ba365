"""Where the original (websockify 0.13.0) differs from the behaviour that ours guarantees.

Each case in `DIFFERENCES` fails on the original, for the reason given. The run
on the original fails when such a case passes there, which keeps the list
correct. A key names a case, or all cases of a function.
"""

LOSES_EARLY_BYTES = "the original loses what its HTTP reader has read behind the request"
WAITS_FOR_WHOLE_MESSAGES = "the original holds a message back until it has all of it"
NO_BOUND = "the original queues without a bound what the other side does not read"
NO_CLOSE_DEADLINE = "after its Close the original waits for the client's without a deadline"
ACCEPTS_LONG_CONTROL = "the original accepts control frames of any length"
ECHOES_ANY_CODE = "the original answers any Close with what it got"
NO_HALF_CLOSE = "the original ends the session at the first FIN"
FOLLOWS_LINKS = "the original follows symbolic links to anywhere"
NO_RANGES = "the original knows no ranges"
BLOCKS_ON_TICKETS = "the original blocks on the session tickets of a TLS 1.3 target that does not speak first"
DELETES_PATH = "the original deletes whatever is at the path"
NO_RANGE_CHECK = "the original does not check the range of a port"
SHOWS_TRACEBACK = "the original shows a Python traceback"
FORKS = "the original forks for every connection, which takes several milliseconds each"
LOSES_SIGNALS = "the original loses a SIGTERM that comes while it forks"
NO_BRACKETS = "the original knows IPv6 addresses without brackets only"
LOGS_EACH_TIME = "the original reads the file for each client, and logs all that is wrong each time"
OPENS_FIRST = "the original opens the WebSocket before it looks at the port"
BELIEVES_HEADER = "the original removes fields of the client that begin with SSL_ in capital letters only"
NO_HEAD_DEADLINE = "the original has no deadline after the first byte"

DIFFERENCES = {
    # Opening handshake
    "test_handshake.py::test_the_binary_sub_protocol_is_found_between_spaces": (
        "the original does not trim the names of sub-protocols"
    ),
    "test_handshake.py::test_a_key_that_is_not_16_bytes_in_base64_is_refused": "the original takes any key",
    "test_handshake.py::test_the_binary_sub_protocol_is_found_in_a_second_field": (
        "the original looks at the first Sec-WebSocket-Protocol field only"
    ),
    "test_requests.py::test_a_frame_behind_the_request_reaches_the_target": LOSES_EARLY_BYTES,
    "test_requests.py::test_many_frames_behind_the_request_reach_the_target_in_order": LOSES_EARLY_BYTES,
    "test_requests.py::test_half_a_frame_behind_the_request_is_continued": LOSES_EARLY_BYTES,
    "test_requests.py::test_a_ping_behind_the_request_is_answered": LOSES_EARLY_BYTES,
    "test_requests.py::test_a_second_request_after_the_upgrade_is_not_served": LOSES_EARLY_BYTES,
    "test_handshake.py::test_an_upgrade_with_a_body_is_refused": (
        "the original ignores Content-Length and Transfer-Encoding"
    ),
    "test_requests.py::test_line_breaks_in_a_field_add_no_response_field[Sec-WebSocket-Version]": (
        "the original writes the client's version with its line breaks into the status line"
    ),
    "test_requests.py::test_several_host_fields_are_refused": "the original believes the first Host field",
    # Frames
    "test_frames.py::test_the_first_part_of_a_large_frame_does_not_wait_for_its_end": WAITS_FOR_WHOLE_MESSAGES,
    "test_frames.py::test_a_fragment_reaches_the_target_before_the_message_ends": WAITS_FOR_WHOLE_MESSAGES,
    "test_violations.py::test_a_huge_frame_is_delivered_as_it_comes": WAITS_FOR_WHOLE_MESSAGES,
    "test_frames.py::test_an_empty_first_fragment_begins_a_message": (
        "the original takes an empty first fragment for no message"
    ),
    "test_violations.py::test_a_reserved_bit_is_refused_with_1002": "the original ignores reserved bits",
    "test_violations.py::test_a_control_frame_over_125_bytes_is_refused": ACCEPTS_LONG_CONTROL,
    "test_violations.py::test_a_length_with_its_highest_bit_set_is_refused": (
        "the original waits for the 2^63 bytes"
    ),
    "test_violations.py::test_nothing_after_a_violation_reaches_the_target": (
        "the original goes on forwarding after its Close"
    ),
    "test_control_frames.py::test_a_close_of_one_byte_is_refused_with_1002": ECHOES_ANY_CODE,
    "test_control_frames.py::test_a_close_code_that_must_not_be_sent_is_refused_with_1002": ECHOES_ANY_CODE,
    # Closing
    "test_close.py::test_what_was_sent_before_the_target_half_closed_still_reaches_it": NO_HALF_CLOSE,
    "test_close.py::test_the_echo_of_what_precedes_a_fin_still_arrives": NO_HALF_CLOSE,
    "test_close.py::test_a_slow_answer_after_a_clients_fin_arrives": NO_HALF_CLOSE,
    "test_close.py::test_a_target_that_resets_ends_the_session_with_a_close_frame": (
        "the original ends the TCP connection without a Close frame"
    ),
    "test_close.py::test_a_violation_ends_the_target_at_once": NO_CLOSE_DEADLINE,
    "test_close.py::test_a_client_that_answers_no_close_is_dropped": NO_CLOSE_DEADLINE,
    "test_close.py::test_sigterm_closes_every_session_with_1001": (
        "the original ends the TCP connections without a Close frame"
    ),
    # Pressure
    "test_pressure.py::test_unfinished_requests_and_handshakes_time_out": NO_HEAD_DEADLINE,
    "test_pressure.py::test_a_client_that_trickles_its_request_is_dropped": NO_HEAD_DEADLINE,
    # Heartbeat
    "test_heartbeat.py::test_a_client_that_answers_no_ping_is_dropped_and_so_is_its_target": (
        "the original sends pings and does not look at the answers"
    ),
    # Web
    "test_web_root.py::test_no_symbolic_link_leaves_the_root": FOLLOWS_LINKS,
    "test_web_links.py::test_a_link_that_leads_out_is_refused_and_logged": FOLLOWS_LINKS,
    "test_web_links.py::test_an_index_that_leads_out_is_skipped_and_logged": FOLLOWS_LINKS,
    "test_web_root.py::test_a_listing_does_not_follow_a_link_out_of_the_root": FOLLOWS_LINKS,
    "test_web_root.py::test_a_fifo_in_the_root_does_not_block_the_client": (
        "the original opens a FIFO as a file and waits for its writer"
    ),
    "test_web_protocol.py::test_an_entity_tag_that_matches_is_304": "the original sends no ETag",
    "test_web_protocol.py::test_a_range_of_a_file_is_206": NO_RANGES,
    "test_web_protocol.py::test_a_range_in_the_middle_of_a_big_file_is_right": NO_RANGES,
    "test_web_protocol.py::test_a_range_after_the_end_is_416": NO_RANGES,
    "test_web_protocol.py::test_an_upgrade_pipelined_after_a_file_is_served_with_its_frame": LOSES_EARLY_BYTES,
    "test_web_protocol.py::test_a_request_body_is_never_taken_for_a_request": (
        "the original reads the body of a GET as the next request"
    ),
    "test_web_protocol.py::test_a_response_forbids_guessing_its_type": (
        "the original sends no X-Content-Type-Options"
    ),
    "test_web_protocol.py::test_the_server_field_has_no_version": "the original tells Python's version",
    # Tokens
    **{
        f"test_plugins.py::test_a_class_that_returns_nothing_rejects_only_its_own_client[{token}]": OPENS_FIRST
        for token in ["to-vnc", "to-0"]
    },
    "test_token_jwt.py::test_encryption_alone_proves_nothing": (
        "the original takes a token that is encrypted twice and not signed"
    ),
    "test_token_redis.py::test_a_value_that_is_no_target_is_refused[h:port]": OPENS_FIRST,
    **{
        f'test_token_api.py::test_an_answer_without_a_target_refuses_the_client[200-{{"host": "127.0.0.1", "port": {port}}}]': (
            OPENS_FIRST
        )
        for port in ['"vnc?"', "0"]
    },
    # TLS
    "test_tls.py::test_frames_after_the_request_within_tls_reach_the_target": LOSES_EARLY_BYTES,
    "test_tls.py::test_the_gateway_ends_tls_with_a_close_notify": (
        "the original closes the TCP connection without ending TLS"
    ),
    "test_certificates.py::test_without_a_certificate_a_tls_client_gets_an_alert": (
        "the original closes the TCP connection without an alert"
    ),
    "test_tls_target.py::test_ssl_target_carries_1_mib_there_and_back": BLOCKS_ON_TICKETS,
    # Tokens
    "test_tokens.py::test_a_token_is_not_logged": "the original logs tokens",
    "test_tokens.py::test_brackets_of_ipv6_targets_are_optional": NO_BRACKETS,
    "test_tokens.py::test_ipv6_and_unix_targets_have_files_too": NO_BRACKETS,
    "test_tokens.py::test_a_broken_target_is_logged_with_file_line_and_reason": (
        "the original looks at a target when it connects"
    ),
    "test_tokens.py::test_a_line_that_is_not_text_is_skipped": (
        "the original reads no file with such a line"
    ),
    "test_tokens.py::test_many_broken_lines_do_not_fill_the_log": LOGS_EACH_TIME,
    "test_tokens.py::test_errors_are_logged_once": LOGS_EACH_TIME,
    "test_tokens.py::test_a_missing_file_is_logged_once_and_is_a_server_error": LOGS_EACH_TIME,
    "test_tokens.py::test_a_fifo_does_not_block_the_service": (
        "the original opens a FIFO as a file and waits for its writer"
    ),
    "test_tokens.py::test_a_file_that_is_too_large_is_rejected": "the original reads files of any size",
    "test_tokens.py::test_other_entries_of_a_directory_are_ignored": (
        "the original fails on everything in a directory that is no file"
    ),
    "test_tokens.py::test_no_token_leads_to_a_socket_outside_the_directory[../sockets-other/a]": (
        "the original compares the beginning of the path"
    ),
    "test_tokens.py::test_no_symbolic_link_leads_to_a_socket": FOLLOWS_LINKS,
    "test_tokens.py::test_a_path_that_is_longer_than_a_socket_address_leads_to_its_socket": (
        "the original connects to the path"
    ),
    "test_tokens.py::test_host_token_takes_an_ipv6_address_whole": "the original cuts at the first colon",
    "test_tokens.py::test_a_bad_token_is_forbidden": "the original closes the connection without an answer",
    "test_tokens.py::test_a_plugin_that_can_not_work_is_refused_at_the_start": (
        "the original starts, or shows a Python traceback"
    ),
    # Authentication
    "test_auth.py::test_malformed_credentials_are_forbidden": (
        "the original fails on malformed base64, and closes the connection without an answer"
    ),
    "test_auth.py::test_the_scheme_may_be_written_in_any_case": "the original knows one spelling only",
    "test_auth.py::test_a_password_beyond_ascii_passes[utf-8]": "the original reads ISO 8859-1 only",
    "test_auth.py::test_a_client_can_not_set_its_name[ssl_client_s_dn_cn]": BELIEVES_HEADER,
    "test_auth.py::test_a_client_with_a_certificate_can_not_set_another_name": BELIEVES_HEADER,
    "test_auth.py::test_a_client_without_the_password_does_not_learn_which_tokens_exist": (
        "the original looks at the token first"
    ),
    "test_auth.py::test_a_plugin_that_rejects_every_client_is_refused_at_the_start": (
        "the original starts and refuses every client, or shows a Python traceback"
    ),
    # Listening and targets
    "test_listen.py::test_a_file_that_is_not_a_socket_is_not_replaced": DELETES_PATH,
    "test_listen.py::test_a_unix_socket_that_is_in_use_is_not_taken_over": DELETES_PATH,
    "test_listen.py::test_inetd_rejects_anything_but_a_listening_socket": (
        "the original does not look at what it was given"
    ),
    "test_listen.py::test_a_port_in_use_makes_the_exit_status_a_failure": ("the original exits with 0"),
    "test_target.py::test_of_two_addresses_the_one_that_answers_is_used[::1]": (
        "the original tries the first address only"
    ),
    # Wrapped programs
    "test_wrap.py::test_a_program_binds_the_port_that_we_hold_and_is_reached[6]": (
        "the original connects to 127.0.0.1 only"
    ),
    "test_wrap.py::test_clients_that_come_before_it_listens_wait_for_it": (
        "the original closes with 1011 when the program does not listen yet"
    ),
    # Command line
    "test_command_line.py::test_a_port_out_of_range_is_refused": NO_RANGE_CHECK,
    "test_command_line.py::test_a_target_port_out_of_range_is_refused": NO_RANGE_CHECK,
    "test_command_line.py::test_a_web_root_that_does_not_exist_is_refused_with_its_name": SHOWS_TRACEBACK,
    "test_command_line.py::test_a_web_root_that_is_a_file_is_refused_with_its_name": SHOWS_TRACEBACK,
    "test_command_line.py::test_version_is_printed": "the original does not know --version",
    # Recordings
    "test_record.py::test_earlier_recordings_are_not_overwritten": "the original overwrites recordings",
    "test_record.py::test_recordings_are_accessible_only_to_their_owner": "the original lets the umask decide",
    "test_record.py::test_a_recording_is_complete_after_a_crash": "the original buffers what it records",
    # Log
    "test_log.py::test_a_token_in_the_path_is_not_logged": "the original logs the whole path",
    "test_log.py::test_control_characters_of_a_client_do_not_reach_the_log": (
        "the original logs the path as it came"
    ),
}

RACES = {
    "test_tokens.py::test_of_two_files_the_later_name_counts": "the original reads directories in no order",
    "test_pressure.py::test_a_client_that_never_reads_keeps_memory_flat_and_others_quick": NO_BOUND,
    "test_pressure.py::test_a_target_that_never_reads_keeps_memory_flat_and_others_quick": NO_BOUND,
    "test_close.py::test_a_signal_ends_every_process_within_3_seconds": LOSES_SIGNALS,
    "test_log.py::test_the_end_is_logged": LOSES_SIGNALS,
    "test_pressure.py::test_a_client_that_never_reads_does_not_stop_its_own_data": (
        "the original's loop blocks in writing to a client that does not read"
    ),
    "test_pressure.py::test_300_half_open_handshakes_do_not_keep_a_new_client_waiting": FORKS,
    "test_pressure.py::test_200_idle_sessions_do_not_keep_a_new_client_waiting": FORKS,
    "test_tls_target.py::test_ssl_target_speaks_tls_to_a_target_that_waits": BLOCKS_ON_TICKETS,
}
"""What the original does now one way and now the other; not run there."""

PENDING = {}
"""What ours can't do yet; the run on ours fails when such a case passes."""
