"""What `make recover` and `make repair` are made of: the stack as the CLI shows it, its lock, and AWS behind it.

`stack` drives tools/pulumi, `locks` knows who holds a backend's lock, `plugins` ends what a dead engine left running,
`account` is AWS as the stack file reaches it, `kinds` is the table of what a deployment makes there.
"""
