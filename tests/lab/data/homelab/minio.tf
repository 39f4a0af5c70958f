locals {
  node_ssh = {
    host        = split(":", trimprefix(var.proxmox_endpoint, "https://"))[0]
    user        = var.node_ssh.user
    port        = var.node_ssh.port
    private_key = file(var.node_ssh.private_key)
  }
}

# Keeps the states of all environments, this one's included.
module "minio" {
  source = "../../modules/minio"

  node_name         = var.default_node
  node_ssh          = local.node_ssh
  hostname          = "${var.environment}-minio"
  ip                = var.minio.ip
  gateway           = var.network_gateway
  bridge            = var.network_bridge
  datastore_id      = var.default_datastore
  template_file_id  = var.minio.template_file_id
  root_user         = var.minio.root_user
  root_password     = var.minio.root_password
  port              = var.minio.port
  console_port      = var.minio.console_port
  data_disk_size_gb = var.minio.data_disk_size_gb
  buckets           = var.minio.buckets
}

# Outside of the module: a targeted apply leaves them out.
resource "proxmox_virtual_environment_firewall_options" "minio" {
  node_name    = var.default_node
  container_id = module.minio.container_id
  enabled      = true
  input_policy = "DROP"
}

resource "proxmox_virtual_environment_firewall_rules" "minio" {
  node_name    = var.default_node
  container_id = module.minio.container_id

  rule {
    type    = "in"
    action  = "ACCEPT"
    proto   = "tcp"
    dport   = tostring(var.minio.port)
    comment = "S3"
  }

  rule {
    type    = "in"
    action  = "ACCEPT"
    proto   = "tcp"
    dport   = tostring(var.minio.console_port)
    comment = "console"
  }
}

output "minio_endpoint" {
  value = module.minio.endpoint
}
