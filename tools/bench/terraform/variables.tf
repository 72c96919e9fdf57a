variable "api" {
  description = "URL of the AWS API."
  type        = string
}

variable "cidr" {
  type = string
}

variable "zones" {
  description = "By name; numbers count from 1."
  type        = map(object({ number = number, subnet = string }))
}

variable "tags" {
  description = "By what is tagged, for all but nodes and rules, which bring theirs."
  type        = map(map(string))
}

variable "flow_log_group" {
  type = string
}

variable "flow_log_days" {
  type = number
}

variable "groups" {
  description = "Security groups: their descriptions by name."
  type        = map(string)
}

variable "rules" {
  description = "Security group rules; cidr or peer is null."
  type = map(object({
    group     = string
    direction = string
    protocol  = string
    first     = number
    last      = number
    cidr      = string
    peer      = string
    why       = string
    tags      = map(string)
  }))
}

variable "nodes" {
  type = map(object({
    group         = string
    zone          = string
    address       = string
    ami           = string
    instance_type = string
    volume_gb     = number
    tags          = map(string)
  }))
}

variable "database_volume_gb" {
  type = number
}

variable "user_data" {
  type      = string
  sensitive = true
}

variable "login" {
  description = "How to log in to every host."
  type = object({
    user             = string
    private_key      = string
    host_key         = string
    dial_error_limit = number
    per_dial_timeout = number
  })
  sensitive = true
}

variable "command" {
  description = "What takes a step's script on its standard input."
  type        = string
}

variable "steps" {
  description = "Standard input by node and step."
  type        = map(map(string))
  sensitive   = true
}

variable "balancer_steps" {
  description = "Their names."
  type        = set(string)
}

variable "database_steps" {
  description = "Their names."
  type        = set(string)
}
