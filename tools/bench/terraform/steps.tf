# Nothing is run: a step's inputs are what an engine has to keep and compare. Steps of one host that for_each makes have
# no order among each other, which is less to do for Terraform than for our engine.

locals {
  entrance  = merge(var.login, { host = aws_eip.public_address.public_ip })
  reachable = [aws_eip_association.balancer.id, [for step in terraform_data.database : step.id]]
}

resource "terraform_data" "database" {
  for_each = var.database_steps
  input = {
    connection = merge(var.login, { host = var.nodes[local.database].address, proxy = local.entrance })
    create     = var.command
    stdin      = var.steps[local.database][each.key]
    after      = [aws_eip_association.balancer.id, aws_volume_attachment.database.id]
  }
  triggers_replace = [aws_instance.host[local.database].id]
}

resource "terraform_data" "media_ready" {
  for_each = local.media
  input = {
    connection = merge(var.login, { host = each.value.address, proxy = local.entrance })
    create     = var.command
    stdin      = var.steps[each.key]["ready"]
    after      = local.reachable
  }
  triggers_replace = [aws_instance.host[each.key].id]
}

resource "terraform_data" "media_server" {
  for_each = local.media
  input = {
    connection = merge(var.login, { host = each.value.address, proxy = local.entrance })
    create     = var.command
    stdin      = var.steps[each.key]["server"]
    after      = terraform_data.media_ready[each.key].id
  }
  triggers_replace = [aws_instance.host[each.key].id]
}

resource "terraform_data" "media_administrator" {
  for_each = { for name, node in local.media : name => node if name == "origin-1" }
  input = {
    connection = merge(var.login, { host = each.value.address, proxy = local.entrance })
    create     = var.command
    stdin      = var.steps[each.key]["administrator"]
    after      = terraform_data.media_server[each.key].id
  }
  triggers_replace = [aws_instance.host[each.key].id]
}

resource "terraform_data" "media_joined" {
  for_each = local.media
  input = {
    connection = merge(var.login, { host = each.value.address, proxy = local.entrance })
    create     = var.command
    stdin      = var.steps[each.key]["joined"]
    after      = [terraform_data.media_server[each.key].id, terraform_data.media_administrator["origin-1"].id]
  }
  triggers_replace = [aws_instance.host[each.key].id]
}

resource "terraform_data" "balancer" {
  for_each = var.balancer_steps
  input = {
    connection = local.entrance
    create     = var.command
    stdin      = var.steps[local.balancer][each.key]
    after      = [for step in terraform_data.media_joined : step.id]
  }
  triggers_replace = [aws_instance.host[local.balancer].id]
}
