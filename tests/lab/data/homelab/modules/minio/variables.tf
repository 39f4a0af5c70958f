variable "node_name" {
  type = string
}

variable "node_ssh" {
  type = object({ host = string, user = string, port = number, private_key = string })
}

variable "hostname" {
  type = string
}

variable "ip" {
  type = string
}

variable "gateway" {
  type = string
}

variable "bridge" {
  type = string
}

variable "datastore_id" {
  type = string
}

variable "template_file_id" {
  type = string
}

variable "root_user" {
  type = string
}

variable "root_password" {
  type      = string
  sensitive = true
}

variable "port" {
  type = number
}

variable "console_port" {
  type = number
}

variable "data_disk_size_gb" {
  type = number
}

variable "buckets" {
  type = list(string)
}
