"""The functional core: every decision about a cluster, in pure Python (no Pulumi, no I/O but reading templates).

settings -> plan -> (firewall, haproxy) -> render
"""
