output "container_id" {
  value = proxmox_virtual_environment_container.minio.vm_id
}

output "endpoint" {
  value = "http://${var.ip}:${var.port}"
}
