variable "monitoring" {
  type    = any
  default = null
}

variable "minio" {
  type    = any
  default = null
}

# How the provisioners log in to the node.
variable "node_ssh" {
  type = object({ user = string, port = number, private_key = string })
}
