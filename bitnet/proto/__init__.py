"""Messages and stubs of the gRPC driver, generated from supervisor.proto by regenerate.sh."""
