"""What a change of the program or of a stack file would do to a deployment, for a person who has to say yes to it."""
