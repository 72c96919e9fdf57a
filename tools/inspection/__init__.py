"""What is sent to hosts to be run there."""
