data "aws_availability_zones" "available" {
  state = "available"
  filter {
    name   = "opt-in-status"
    values = ["opt-in-not-required"]
  }
}

resource "aws_vpc" "vpc" {
  cidr_block           = var.cidr
  enable_dns_hostnames = true
  enable_dns_support   = true
  tags                 = var.tags["vpc"]
}

resource "aws_cloudwatch_log_group" "flow_log" {
  name              = var.flow_log_group
  retention_in_days = var.flow_log_days
  tags              = var.tags["flow-log"]
}

resource "aws_iam_role" "flow_log" {
  name_prefix = "flow-log-"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "vpc-flow-logs.amazonaws.com" }
      Condition = { StringEquals = { "aws:SourceAccount" = aws_vpc.vpc.owner_id } }
    }]
  })
  tags = var.tags["flow-log"]
}

resource "aws_iam_role_policy" "flow_log" {
  name_prefix = "flow-log-"
  role        = aws_iam_role.flow_log.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = ["logs:CreateLogStream", "logs:DescribeLogGroups", "logs:DescribeLogStreams", "logs:PutLogEvents"]
      Resource = [aws_cloudwatch_log_group.flow_log.arn, "${aws_cloudwatch_log_group.flow_log.arn}:*"]
    }]
  })
}

resource "aws_flow_log" "vpc" {
  vpc_id          = aws_vpc.vpc.id
  traffic_type    = "ALL"
  log_destination = aws_cloudwatch_log_group.flow_log.arn
  iam_role_arn    = aws_iam_role.flow_log.arn
  tags            = var.tags["flow-log"]
  depends_on      = [aws_iam_role_policy.flow_log]
}

resource "aws_default_security_group" "closed" {
  vpc_id = aws_vpc.vpc.id
  tags   = var.tags["default-closed"]
}

resource "aws_internet_gateway" "gateway" {
  vpc_id = aws_vpc.vpc.id
  tags   = var.tags["internet-gateway"]
}

resource "aws_route_table" "public" {
  vpc_id = aws_vpc.vpc.id
  tags   = var.tags["public"]
}

resource "aws_route" "internet" {
  route_table_id         = aws_route_table.public.id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.gateway.id
}

resource "aws_subnet" "zone" {
  for_each                = var.zones
  vpc_id                  = aws_vpc.vpc.id
  cidr_block              = each.value.subnet
  availability_zone       = sort(data.aws_availability_zones.available.names)[each.value.number - 1]
  map_public_ip_on_launch = true
  tags                    = var.tags[each.key]
}

resource "aws_route_table_association" "zone" {
  for_each       = var.zones
  subnet_id      = aws_subnet.zone[each.key].id
  route_table_id = aws_route_table.public.id
}

resource "aws_security_group" "group" {
  for_each    = var.groups
  name_prefix = "${each.key}-"
  vpc_id      = aws_vpc.vpc.id
  description = each.value
  tags        = var.tags[each.key]
}

resource "aws_vpc_security_group_ingress_rule" "rule" {
  for_each                     = { for key, rule in var.rules : key => rule if rule.direction == "ingress" }
  security_group_id            = aws_security_group.group[each.value.group].id
  ip_protocol                  = each.value.protocol
  from_port                    = each.value.first
  to_port                      = each.value.last
  cidr_ipv4                    = each.value.cidr
  referenced_security_group_id = each.value.peer == null ? null : aws_security_group.group[each.value.peer].id
  description                  = each.value.why
  tags                         = each.value.tags
}

resource "aws_vpc_security_group_egress_rule" "rule" {
  for_each                     = { for key, rule in var.rules : key => rule if rule.direction == "egress" }
  security_group_id            = aws_security_group.group[each.value.group].id
  ip_protocol                  = each.value.protocol
  from_port                    = each.value.first
  to_port                      = each.value.last
  cidr_ipv4                    = each.value.cidr
  referenced_security_group_id = each.value.peer == null ? null : aws_security_group.group[each.value.peer].id
  description                  = each.value.why
  tags                         = each.value.tags
}

resource "aws_eip" "public_address" {
  domain = "vpc"
  tags   = var.tags["public-address"]
}
