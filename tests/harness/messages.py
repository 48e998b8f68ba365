"""Tags of the messages between the processes.

Generated from the tables in common/src/ipc by
GENERATE=1 cargo test -p websockify-common --test messages.
"""

VERSION = 1


class SupervisorToGateway:
    SETUP = 1
    ACKNOWLEDGEMENTS = 2
    WEB_ROOT = 3
    CONNECTOR = 4
    CERTIFICATE = 5
    SIGNER = 6
    BEGIN = 7
    CONNECTION = 8
    RECORDING = 9
    NO_RECORDING = 10
    END = 11
    GET_COUNTS = 12
    GET_STATS = 13
    RETIRE = 14
    RESTART = 15
    STOP = 16


class GatewayToSupervisor:
    READY = 1
    FAILED = 2
    REPORT = 3
    COUNTS = 4
    OPEN_RECORDING = 5
    REQUESTED = 6
    STATS = 7


class Ack:
    READING = 1
    READING_TLS = 2


class SupervisorToConnector:
    SETUP = 1
    SPENT_BEFORE = 2
    TOKENS = 3
    PLUGIN = 4
    PROGRAM = 5
    GATEWAY = 6
    PING = 7
    FORGET = 8
    SOCKET_FOUND = 9
    SOCKET = 10
    NO_SOCKET = 11
    USERS = 12
    RESERVED = 13
    RESERVE_ALL = 14
    SOURCE_CHECKED = 15
    ENDED = 16
    TARGET_CLAIMED = 17


class ConnectorToSupervisor:
    READY = 1
    FAILED = 2
    DIALLED = 3
    VIOLATION = 4
    PONG = 5
    PLUGIN_HANGS = 6
    SETTLED = 7
    FIND_SOCKET = 8
    CONNECT_SOCKET = 9
    RESERVE = 10
    RELEASE = 11
    OFFENDERS = 12
    CHECK_SOURCE = 13
    PAGE_SERVED = 14
    WHICH_ENDED = 15
    REVOKED = 16
    CLAIM_TARGET = 17


class GatewayToConnector:
    ADMIT = 1
    BROWSE = 2


class ConnectorToGateway:
    CONNECTED = 1
    GRANTED = 2
    REFUSED = 3
    WAITING = 4


class SupervisorToSigner:
    SETUP = 1
    GATEWAY = 2
    PING = 3


class SignerToSupervisor:
    READY = 1
    FAILED = 2
    VIOLATION = 3
    PONG = 4


class GatewayToSigner:
    SIGN = 1


class SignerToGateway:
    SIGNATURE = 1
    REFUSED = 2


class SupervisorToExporter:
    SETUP = 1
    LISTENER = 2
    PAGE = 3
    PING = 4
    RETIRE = 5


class ExporterToSupervisor:
    READY = 1
    WANTED = 2
    PONG = 3


class SupervisorToWrapper:
    SETUP = 1


class WrapperToSupervisor:
    STARTED = 1
    NOT_STARTED = 2
    ENDED = 3


class SupervisorToEcho:
    SETUP = 1
    LISTENER = 2


class LogMessage:
    LINES = 1


# A `ClientFacts` that tells nothing.
NO_FACTS = bytes(7)

# What follows the number of the connection in an `Ended` without a session and an offence.
NO_SESSION = bytes(3)

# What follows the target in a `Dialled` that tells nothing else.
NOTHING_ELSE = bytes(7)
