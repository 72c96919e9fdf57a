"""AWS on one machine: the EC2 API is an emulator, every instance is a real host. See docs/lab.md."""
