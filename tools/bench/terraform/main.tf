# What __main__.py deploys for a cluster, written for Terraform: the other side of the benchmark of deployments.
# The values come from the project's own plan (tools/bench/terraform.py); the resources are ours, one for one.

terraform {
  required_providers {
    aws = { source = "hashicorp/aws", version = "~> 5.0" }
  }
}

# The emulated API, with the settings of stacks/Pulumi.lab-cluster.yaml.
provider "aws" {
  region                      = "us-east-1"
  access_key                  = "lab"
  secret_key                  = "lab"
  skip_metadata_api_check     = "true"
  skip_credentials_validation = true
  endpoints {
    ec2            = var.api
    sts            = var.api
    iam            = var.api
    logs           = var.api
    secretsmanager = var.api
  }
}

locals {
  balancer = one([for name, node in var.nodes : name if node.group == "lb"])
  database = one([for name, node in var.nodes : name if node.group == "db"])
  media    = { for name, node in var.nodes : name => node if node.group == "media" }
}
