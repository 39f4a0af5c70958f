variable "monitoring" {
  type    = any
  default = null
}

variable "minio" {
  type      = any
  default   = null
  sensitive = true
}
