"""A compromised gateway, beside the real supervisor, connector and signer.

`install` creates a directory with a copy of the program under test and, in place
of its worker, this file. As the first gateway it performs the act that the case
chose; in any other role it executes the real worker."""

import fcntl
import os
import pathlib
import select
import shutil
import socket
import subprocess
import sys
import termios
import time

from .messages import (
    NO_FACTS,
    NO_SESSION,
    VERSION,
    Ack,
    GatewayToConnector,
    GatewayToSupervisor,
    LogMessage,
    SupervisorToGateway,
    WrapperToSupervisor,
)


def message(tag, fields=b""):
    return bytes([VERSION, tag]) + fields


# A false report of its level: user 1, no privileges, seccomp, Landlock 6, and none of the fields that follow.
READY = message(GatewayToSupervisor.READY, b"\x01\x01" + b"\x01\x01\x06" + bytes(6))
REPORT = message(GatewayToSupervisor.REPORT)
COUNTS = message(GatewayToSupervisor.COUNTS)
ADMIT = message(GatewayToConnector.ADMIT)
# An address that a proxy is said to have told, in place of the first of `NO_FACTS`.
SOMEBODY = b"\x01\x00" + bytes([192, 0, 2, 7]) + b"\x00"
STATS = message(GatewayToSupervisor.STATS)

# Ended by the client (1000), after one byte to the target and two to the client.
SUMMARY = b"\x01\x02" + b"\x00" + b"\xe8\x07" + b"\x00" + b"\x00\x00" + b"\x01"
# The largest count.
MOST = b"\xff" * 9 + b"\x01"

# The token that a rogue shows.
TOKEN = "rogues-token"

SOME_ID = b"\xc0\x84\x3d"  # 1,000,000


class Ends:
    """The channels of a gateway, and what it has received."""

    def __init__(self):
        self.supervisor = socket.socket(fileno=0)
        self.supervisor.setblocking(True)
        self.log = socket.socket(fileno=1)
        self.log.setblocking(True)
        self.connector = self.acknowledgements = self.client = None
        self.ticket = b""

    @property
    def id(self):
        """The id of the last connection, with which its ticket begins."""
        return self.ticket[: next(at for at, byte in enumerate(self.ticket) if byte < 0x80) + 1]

    def lost(self):
        self.supervisor.send(REPORT + b"\x01" + self.id + b"\x00")

    def ended(self, summary=None):
        session = NO_SESSION if summary is None else b"\x01" + summary + NO_SESSION[1:]
        self.supervisor.send(REPORT + b"\x00\x01" + self.id + session)

    def next_client(self):
        """Accepts connections until a client sends something; earlier ones are reported as ended."""
        while not self.client.recv(1, socket.MSG_PEEK):
            self.ended()
            self.until(SupervisorToGateway.CONNECTION)

    def take_target(self):
        """Obtains a target for the client. The connector reports it to the supervisor some milliseconds later."""
        self.next_client()
        self.connector.send(ADMIT + self.ticket + NO_FACTS)
        _, fds, _, _ = socket.recv_fds(self.connector, 1 << 14, 1)
        self.target = fds[0]

    def until(self, wanted):
        """Receives messages until one has this tag."""
        while True:
            datagram, fds, _, _ = socket.recv_fds(self.supervisor, 1 << 14, 1)
            if not datagram:
                sys.exit()
            tag = datagram[1]
            if tag == SupervisorToGateway.GET_COUNTS:
                # Answered, so that this gateway is not considered hung.
                self.supervisor.send(COUNTS + b"\x00")
            if tag in (
                SupervisorToGateway.CONNECTOR,
                SupervisorToGateway.ACKNOWLEDGEMENTS,
                SupervisorToGateway.CONNECTION,
            ):
                end = socket.socket(fileno=fds[0])
                end.setblocking(True)
            if tag == SupervisorToGateway.CONNECTOR:
                self.connector = end
            elif tag == SupervisorToGateway.ACKNOWLEDGEMENTS:
                self.acknowledgements = end
            elif tag == SupervisorToGateway.CONNECTION:
                # The last byte tells whether it begins with a PROXY header.
                self.client, self.ticket = end, datagram[2:-1]
            if tag == wanted:
                return


def forge(ends):
    ends.connector.send(ADMIT + ends.ticket[:-1] + bytes([ends.ticket[-1] ^ 1]) + NO_FACTS)


def reuse(ends):
    for _ in range(2):
        ends.connector.send(ADMIT + ends.ticket + NO_FACTS)


def noise_for_the_connector(ends):
    ends.connector.send(os.urandom(3000))


def descriptors_for_the_connector(ends):
    socket.send_fds(ends.connector, [ADMIT + ends.ticket + NO_FACTS], [0, 1])


def noise(ends):
    ends.supervisor.send(b"\xff" + os.urandom(3000))


def unknown_message(ends):
    ends.supervisor.send(message(0x4D))


def too_long(ends):
    ends.supervisor.send(REPORT + bytes(20_000))


def descriptors(ends):
    socket.send_fds(ends.supervisor, [REPORT + b"\x00\x00"], [0, 1])


def ready_again(ends):
    ends.supervisor.send(READY)


def report_of_nothing(ends):
    ends.supervisor.send(REPORT + b"\x00\x00")


def end_of_another_connection(ends):
    ends.supervisor.send(REPORT + b"\x00\x01" + SOME_ID + NO_SESSION)


def loss_of_another_connection(ends):
    ends.supervisor.send(REPORT + b"\x01" + SOME_ID + b"\x00")


def answer_without_a_question(ends):
    ends.supervisor.send(COUNTS + b"\x00")


def wrong_acknowledgement(ends):
    ends.acknowledgements.send(b"\xff" * 500)


def session_without_a_target(ends):
    ends.ended(SUMMARY)


def end_said_twice(ends):
    ends.ended()
    ends.ended()


def offence_of_another_role(ends):
    """A wrong password, of which only the connector knows."""
    ends.supervisor.send(REPORT + b"\x00\x01" + ends.id + b"\x00" + b"\x01\x00" + NO_SESSION[2:])


def loss_of_what_has_a_target(ends):
    ends.take_target()
    time.sleep(0.3)
    ends.lost()


def more_bytes_than_time_allows(ends):
    ends.take_target()
    time.sleep(0.3)
    ends.ended(MOST + SUMMARY[1:])


def more_frames_than_time_allows(ends):
    ends.take_target()
    time.sleep(0.3)
    ends.ended(SUMMARY[:-2] + MOST + SUMMARY[-1:])


def more_answers_than_requests(ends):
    ends.supervisor.send(STATS + b"\x01\xc8\x01" + MOST + b"\x00" + bytes(15))


def more_tls_handshakes_than_connections(ends):
    ends.supervisor.send(STATS + b"\x00\x00" + MOST + bytes(14))


def tls_handshakes_longer_than_it_lives(ends):
    ends.supervisor.send(STATS + b"\x00\x00" + b"\x01" + bytes(12) + MOST + b"\x00")


def tls_handshakes_in_no_time(ends):
    """One that took longer than ten seconds, and no time at all."""
    ends.supervisor.send(STATS + b"\x00\x00" + bytes(12) + b"\x01" + b"\x00\x00")


def close_code_that_is_none(ends):
    ends.take_target()
    time.sleep(0.3)
    ends.ended(b"\x01\x02\x00" + varint(UNHEARD_OF) + b"\x00\x00\x00")


def handshake_longer_than_its_connection(ends):
    ends.take_target()
    time.sleep(0.3)
    took = b"\x01" + varint(UNHEARD_OF) + b"\x00"
    ends.supervisor.send(message(GatewayToSupervisor.REQUESTED, b"\x01" + ends.id + bytes(8) + took))


def request_longer_than_a_record(ends):
    ends.take_target()
    time.sleep(0.3)
    host = b"\x01" + varint(257) + b"h" * 257
    ends.supervisor.send(message(GatewayToSupervisor.REQUESTED, b"\x01" + ends.id + host + bytes(8)))


def more_dropped_lines_than_it_can_have_made(ends):
    ends.log.send(lines(dropped=(1 << 32) - 1))


# Stands in no record and no metric by itself.
UNHEARD_OF = 54_321

# Kinds of events in log lines (`RoleEvent`).
AUTH_DENIED, TOKEN_DENIED, TLS_FAILED, PATH, REFUSED, OUTPUT = 0, 1, 2, 5, 7, 10


def varint(number):
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    return bytes(encoded) + bytes([number])


def line(text, connection=None, event=None, severity=2, vouched=b"\x00"):
    """A log line. `connection` is an encoded id, `vouched` the encoded client for which proxies vouch."""
    encoded = text if isinstance(text, bytes) else text.encode()
    about = b"\x00" if connection is None else b"\x01" + connection
    kind = b"\x00" if event is None else b"\x01" + varint(event)
    return varint(severity) + about + vouched + varint(len(encoded)) + encoded + kind


def lines(*some, dropped=0):
    return message(LogMessage.LINES, varint(dropped) + varint(len(some)) + b"".join(some) + b"\x00")


def client_of_no_proxy(ends):
    ends.connector.send(ADMIT + ends.ticket + SOMEBODY + NO_FACTS[1:])


def client_of_no_proxy_in_the_log(ends):
    ends.log.send(lines(line("hello", ends.id, PATH, vouched=SOMEBODY)))


def client_of_no_proxy_in_a_recording(ends):
    ends.next_client()
    ends.supervisor.send(message(GatewayToSupervisor.OPEN_RECORDING, ends.id + SOMEBODY))


def offence_of_a_client_of_no_proxy(ends):
    """A request that did not come, of somebody else."""
    ends.supervisor.send(REPORT + b"\x00\x01" + ends.id + b"\x00" + b"\x01\x04" + SOMEBODY)


def denial_in_the_log(ends):
    ends.log.send(lines(line("wrong user name or password", ends.id, AUTH_DENIED)))


def denial_of_a_token_in_the_log(ends):
    ends.log.send(lines(line("Token 'x' not found", None, TOKEN_DENIED)))


def output_of_a_program_in_the_log(ends):
    ends.log.send(lines(line("listening", None, OUTPUT)))


def noise_for_the_log(ends):
    ends.log.send(b"\xff" + os.urandom(3000))


def log_without_end(ends):
    """Fills the channel with the lines that take the most space in the log."""
    many = lines(*[line("\x1b" * 40)] * 300)
    big = lines(line("\x1b" * 16000))
    until = time.monotonic() + 8
    while time.monotonic() < until:
        ends.log.send(many)
        ends.log.send(big)


def empty_log_messages_without_end(ends):
    while True:
        ends.log.send(lines())


def dropped_lines_without_end(ends):
    while True:
        ends.log.send(lines(dropped=1))


def standard_error_without_end(_):
    until = time.monotonic() + 8
    while time.monotonic() < until:
        try:
            os.write(2, b"\x1b" * 79 + b"\n")
        except BlockingIOError:
            time.sleep(0.001)


# Acts that end with the gateway's death, after some thousand lines at most.
FLOODS = [
    log_without_end, empty_log_messages_without_end, dropped_lines_without_end, standard_error_without_end,
]  # fmt: skip


def forge_log_lines(ends):
    """Sends lines that look like those of others."""
    for text in FORGED:
        for connection in (None, ends.id):
            ends.log.send(lines(line(text, connection)))
        for event in (PATH, REFUSED, TLS_FAILED):
            ends.log.send(lines(line(text, ends.id, event)))
        os.write(2, text.encode() + b"\n")


FORGED = [
    "198.51.100.77: wrong user name or password",
    "198.51.100.77 - - [29/Nov/2026 12:00:00] code 401, message Unauthorized",
    "session 9 to 10.0.0.9:5900 closed by client (1000) after 4000.0 s, 12 bytes in, 34 bytes out",
    "reloaded: new connections go to generation 2",
    "a\n198.51.100.77: wrong user name or password\r\x1b[2J\u061c\u200b\u00ad\u202e",
]


def attack_standard_error(_):
    """Applies every operation on descriptors to standard error, which might be the log."""
    attacks = [
        lambda: fcntl.fcntl(2, fcntl.F_SETFL, 0),
        lambda: os.lseek(2, 0, os.SEEK_SET),
        lambda: os.write(2, b"X" * 60 + b"\n"),
        lambda: fcntl.ioctl(2, termios.FIONBIO, b"\x01\x00\x00\x00"),
        lambda: os.ftruncate(2, 0),
        lambda: socket.socket(fileno=os.dup(2)).shutdown(socket.SHUT_RDWR),
    ]
    for attack in attacks:
        try:
            attack()
        except OSError:
            pass


def last_words(_):
    os.write(2, "internal error at \x1b[31msomewhere\u061c:1\nand more".encode())
    os._exit(1)


# Acts that end with the gateway's death.
VIOLATIONS = [
    forge, reuse, noise_for_the_connector, descriptors_for_the_connector, noise, unknown_message, too_long,
    descriptors, ready_again, report_of_nothing, end_of_another_connection, loss_of_another_connection,
    answer_without_a_question, wrong_acknowledgement, session_without_a_target, end_said_twice,
    offence_of_another_role,
    loss_of_what_has_a_target, more_bytes_than_time_allows, more_frames_than_time_allows, more_answers_than_requests,
    more_tls_handshakes_than_connections, tls_handshakes_longer_than_it_lives, tls_handshakes_in_no_time,
    close_code_that_is_none, more_dropped_lines_than_it_can_have_made,
    client_of_no_proxy, client_of_no_proxy_in_the_log, client_of_no_proxy_in_a_recording, offence_of_a_client_of_no_proxy,
    denial_in_the_log, denial_of_a_token_in_the_log, output_of_a_program_in_the_log, noise_for_the_log,
]  # fmt: skip


# What a gateway may say where there is a journal, and must not be believed.
IMPOSSIBLE = [
    more_bytes_than_time_allows, more_frames_than_time_allows, more_answers_than_requests,
    more_tls_handshakes_than_connections, tls_handshakes_longer_than_it_lives, tls_handshakes_in_no_time,
    close_code_that_is_none, handshake_longer_than_its_connection, request_longer_than_a_record,
    more_dropped_lines_than_it_can_have_made,
]  # fmt: skip


def leave(ends, how, is_late):
    """Reports the end of a connection that has a target, before or after the connector has reported the target; and
    continues to use both."""
    ends.take_target()
    if is_late:
        time.sleep(0.3)
    how(ends)
    while True:
        ends.until(None)


def lost_early(ends):
    leave(ends, Ends.lost, False)


def lost_late(ends):
    leave(ends, Ends.lost, True)


def ended_early(ends):
    leave(ends, Ends.ended, False)


def ended_late(ends):
    leave(ends, Ends.ended, True)


def session_ended_early(ends):
    leave(ends, lambda ends: ends.ended(SUMMARY), False)


def session_ended_late(ends):
    leave(ends, lambda ends: ends.ended(SUMMARY), True)


# Acts that must leave one ended session behind, and nothing else.
LEAVING = [lost_early, lost_late, ended_early, ended_late, session_ended_early, session_ended_late]


def hold_unread(ends):
    """Neither acknowledges a connection nor closes it."""
    ends.next_client()
    while True:
        ends.until(None)


def ignore_the_lifetime(ends):
    """Obtains a target by a token, and keeps it."""
    ends.next_client()
    token = b"\x01" + bytes([len(TOKEN)]) + TOKEN.encode()
    ends.connector.send(ADMIT + ends.ticket + b"\x00" + token + NO_FACTS[2:])
    _, ends.target, _, _ = socket.recv_fds(ends.connector, 1 << 14, 1)
    while True:
        ends.until(None)


def attract(ends):
    """Reports each connection as ended, and keeps it."""
    held = []
    while True:
        ends.ended()
        held.append(ends.client)
        os.write(2, b"the rogue has one more\n")
        ends.until(SupervisorToGateway.CONNECTION)


def ignore_the_end(ends):
    """Has no connection, and continues when it is asked to end."""
    ends.ended()
    while True:
        ends.until(SupervisorToGateway.CONNECTION)
        ends.ended()


def acknowledge_without_end(ends):
    while True:
        ends.acknowledgements.send(message(Ack.READING, SOME_ID))


# Acts that do not wait for a client.
AT_ONCE = [attract.__name__, ignore_the_end.__name__]


def read_nothing(ends):
    pass


def install(directory, program, act):
    """Returns the program that starts the service with such a gateway."""
    worker = pathlib.Path(program).resolve().parent / "websockify-worker"
    copy = directory / "websockify"
    shutil.copy(program, copy)
    replace(
        directory / "websockify-worker",
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(pathlib.Path(__file__).parents[1])!r})\n"
        f"from harness import rogue\nrogue.play({str(worker)!r}, {str(directory / 'played')!r}, {act.__name__!r})\n",
    )
    return str(copy)


def install_ready_twice(directory, program, rogue):
    """Returns the program that starts the service with roles named `rogue`, the first of which reports twice that it
    is ready. It is the real one, whose messages are relayed by this script."""
    worker = pathlib.Path(program).resolve().parent / "websockify-worker"
    copy = directory / "websockify"
    shutil.copy(program, copy)
    replace(
        directory / "websockify-worker",
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(pathlib.Path(__file__).parents[1])!r})\n"
        f"from harness import rogue\nrogue.double({str(worker)!r}, {str(directory / 'played')!r}, {rogue!r})\n",
    )
    return str(copy)


def install_role(directory, program, role, act):
    """Gives the program that starts the service with roles of this name that do `act` in place of their work."""
    worker = pathlib.Path(program).resolve().parent / "websockify-worker"
    copy = directory / "websockify"
    shutil.copy(program, copy)
    path = str(pathlib.Path(__file__).parents[1])
    replace(
        directory / "websockify-worker",
        f"#!{sys.executable}\nimport os, sys\nif sys.argv[1] != {role!r}:\n    os.execv({str(worker)!r}, sys.argv)\n"
        f"sys.path.insert(0, {path!r})\nfrom harness import rogue\nrogue.{act.__name__}()\n",
    )
    return str(copy)


def leave_the_channel():
    """A wrapper that says that its program runs, closes its channel, and goes on."""
    supervisor = socket.socket(fileno=0)
    supervisor.setblocking(True)
    supervisor.recv(1 << 14)
    supervisor.send(message(WrapperToSupervisor.STARTED, b"\x02"))
    time.sleep(0.3)
    supervisor.close()
    time.sleep(60)


def install_failing(directory, program, role, flag):
    """Returns the program that starts the service with roles of this name that exit at once while `flag` exists."""
    worker = pathlib.Path(program).resolve().parent / "websockify-worker"
    copy = directory / "websockify"
    shutil.copy(program, copy)
    replace(
        directory / "websockify-worker",
        f"#!/bin/sh\n[ $1 != {role} ] || [ ! -e {flag} ] || exit 1\nexec {worker} $@\n",
    )
    return str(copy)


def install_late_connector(directory, program, seconds):
    """Returns the program that starts the service with a connector whose clock is ahead.

    It is the real connector, in a time namespace."""
    worker = pathlib.Path(program).resolve().parent / "websockify-worker"
    copy = directory / "websockify"
    shutil.copy(program, copy)
    ahead = f"[ $1 != connector ] || set -- unshare --time --monotonic {seconds} --fork --kill-child {worker} $1"
    replace(directory / "websockify-worker", f"#!/bin/sh\n{ahead}\n[ $1 = unshare ] || set -- {worker} $1\nexec $@\n")
    return str(copy)


def replace(path, script):
    path.write_text(script)
    path.chmod(0o755)


def become_the_real_one(worker, marker, rogue):
    """Executes the real worker, except as the first role named `rogue`."""
    role = sys.argv[1]
    try:
        if role != rogue:
            raise FileExistsError
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        os.execv(worker, [worker, *sys.argv[1:]])


def double(worker, marker, rogue):
    become_the_real_one(worker, marker, rogue)
    supervisor = socket.socket(fileno=0)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    real = subprocess.Popen([worker, rogue], stdin=theirs)
    theirs.close()
    ends = {supervisor: ours, ours: supervisor}
    for end in ends:
        end.setblocking(True)
    while True:
        for end in select.select(list(ends), [], [])[0]:
            datagram, fds, _, _ = socket.recv_fds(end, 1 << 14, 1)
            if not datagram:
                ours.close()
                real.wait()
                return
            # The first message of each role reports that it is ready.
            times = 2 if end is ours and datagram[1] == GatewayToSupervisor.READY else 1
            for _ in range(times):
                socket.send_fds(ends[end], [datagram], fds)
            for fd in fds:
                os.close(fd)


def play(worker, marker, act):
    become_the_real_one(worker, marker, "gateway")
    ends = Ends()
    ends.until(SupervisorToGateway.BEGIN)
    ends.supervisor.send(READY)
    if act != read_nothing.__name__:
        ends.until(SupervisorToGateway.CONNECTION)
        if act not in AT_ONCE:
            # The client's first byte chooses the time.
            ends.client.recv(1, socket.MSG_PEEK)
        globals()[act](ends)
    time.sleep(60)
