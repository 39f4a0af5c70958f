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

# What the modules of a whole homelab take as well.

variable "proxmox_api_token" {
  type      = string
  default   = null
  sensitive = true
}

variable "vm_template_id" {
  type    = number
  default = 9000
}

variable "default_datastore" {
  type    = string
  default = "local-lvm"
}

variable "network_gateway" {
  type    = string
  default = null
}

variable "ssh_public_keys" {
  type    = list(string)
  default = []
}
