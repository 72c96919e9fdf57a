resource "aws_secretsmanager_secret" "certificate" {
  name_prefix             = "certificate-"
  description             = "certificate, its key, and the ACME account"
  recovery_window_in_days = 0
  tags                    = var.tags["certificate"]
}

resource "aws_iam_role" "balancer" {
  name_prefix = "load-balancer-"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "ec2.amazonaws.com" }
    }]
  })
  tags = var.tags["certificate"]
}

resource "aws_iam_role_policy" "certificate" {
  name_prefix = "certificate-"
  role        = aws_iam_role.balancer.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = ["secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue"]
      Resource = aws_secretsmanager_secret.certificate.arn
    }]
  })
}

resource "aws_iam_instance_profile" "balancer" {
  name_prefix = "load-balancer-"
  role        = aws_iam_role.balancer.name
  tags        = var.tags["certificate"]
  depends_on  = [aws_iam_role_policy.certificate]
}

resource "aws_instance" "host" {
  for_each                    = var.nodes
  ami                         = each.value.ami
  instance_type               = each.value.instance_type
  subnet_id                   = aws_subnet.zone[each.value.zone].id
  private_ip                  = each.value.address
  vpc_security_group_ids      = [aws_security_group.group[each.value.group].id]
  iam_instance_profile        = each.key == local.balancer ? aws_iam_instance_profile.balancer.name : null
  user_data                   = var.user_data
  user_data_replace_on_change = true
  tags                        = each.value.tags
  metadata_options {
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }
  root_block_device {
    volume_type = "gp3"
    volume_size = each.value.volume_gb
    encrypted   = true
    tags        = each.value.tags
  }
  depends_on = [
    aws_route.internet, aws_route_table_association.zone, aws_default_security_group.closed,
    aws_vpc_security_group_ingress_rule.rule, aws_vpc_security_group_egress_rule.rule,
  ]
}

resource "aws_eip_association" "balancer" {
  allocation_id = aws_eip.public_address.allocation_id
  instance_id   = aws_instance.host[local.balancer].id
}

resource "aws_ebs_volume" "database" {
  availability_zone = aws_subnet.zone[var.nodes[local.database].zone].availability_zone
  size              = var.database_volume_gb
  type              = "gp3"
  throughput        = 125
  encrypted         = true
  tags              = var.tags["database"]
}

resource "aws_volume_attachment" "database" {
  device_name                    = "/dev/sdf"
  volume_id                      = aws_ebs_volume.database.id
  instance_id                    = aws_instance.host[local.database].id
  stop_instance_before_detaching = true
}
