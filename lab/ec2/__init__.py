"""The lab's EC2 API: moto in this process, made to behave as AWS does for what a deployment uses.

`lab.ec2.server` answers AWS requests on a socket, `lab.ec2.model` is what the rest of the lab sees of the account,
`lab.ec2.patches` holds each difference from stock moto with its reason. Nothing else in the lab imports moto.

`python -m lab.ec2 --port N` serves on 127.0.0.1 in the foreground.
"""

from __future__ import annotations

ACCOUNT = "123456789012"
REGION = "us-east-1"
