"""What the test cases build on: a gateway under test, a WebSocket client that
controls every byte, targets, certificates and a view of the processes."""
