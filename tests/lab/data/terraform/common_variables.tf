# What every environment is told in its terraform.tfvars.

variable "proxmox_endpoint" {
  type = string
}

variable "proxmox_insecure" {
  type    = bool
  default = false
}

variable "default_node" {
  type = string
}

variable "environment" {
  type = string
}

variable "network_bridge" {
  type = string
}

variable "backup" {
  type    = any
  default = null
}

variable "vms" {
  type    = any
  default = {}
}

variable "containers" {
  type    = any
  default = {}
}

# What the next apply changes.
variable "release" {
  type    = number
  default = 1
}

variable "grafana_admin_password" {
  type      = string
  sensitive = true
}
