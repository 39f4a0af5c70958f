resource "proxmox_virtual_environment_container" "minio" {
  node_name     = var.node_name
  description   = "MinIO: the states of Terraform"
  unprivileged  = true
  start_on_boot = true
  tags          = ["minio", "terraform"]

  initialization {
    hostname = var.hostname

    ip_config {
      ipv4 {
        address = "${var.ip}/8"
        gateway = var.gateway
      }
    }
  }

  cpu {
    cores = 1
  }

  memory {
    dedicated = 1024
    swap      = 512
  }

  disk {
    datastore_id = var.datastore_id
    size         = 4
  }

  mount_point {
    volume = var.datastore_id
    size   = "${var.data_disk_size_gb}G"
    path   = "/data"
    backup = true
  }

  network_interface {
    name     = "eth0"
    bridge   = var.bridge
    firewall = true
  }

  operating_system {
    template_file_id = var.template_file_id
    type             = "debian"
  }

  features {
    nesting = true
  }

  lifecycle {
    prevent_destroy = true
  }
}

locals {
  vm_id = proxmox_virtual_environment_container.minio.vm_id
}

# Runs again for another user or other buckets, and not for another container.
resource "terraform_data" "minio_install" {
  triggers_replace = [var.root_user, join(",", var.buckets)]

  connection {
    type        = "ssh"
    host        = var.node_ssh.host
    user        = var.node_ssh.user
    port        = var.node_ssh.port
    private_key = var.node_ssh.private_key
    script_path = "/root/terraform_%RAND%.sh"
  }

  provisioner "remote-exec" {
    inline = [
      "set -e",
      "pct exec ${local.vm_id} -- curl -fsSL -o /usr/local/bin/minio INSTALL_SOURCE",
      "pct exec ${local.vm_id} -- chmod +x /usr/local/bin/minio",
      <<-EOT
      pct exec ${local.vm_id} -- tee /etc/default/minio >/dev/null <<'END'
      MINIO_ROOT_USER=${var.root_user}
      MINIO_ROOT_PASSWORD=${var.root_password}
      MINIO_VOLUMES=/data
      MINIO_OPTS="--address :${var.port} --console-address :${var.console_port}"
      END
      EOT
      ,
      <<-EOT
      pct exec ${local.vm_id} -- tee /etc/systemd/system/minio.service >/dev/null <<'END'
      [Unit]
      Description=MinIO

      [Service]
      EnvironmentFile=/etc/default/minio
      ExecStart=/usr/local/bin/minio server $MINIO_OPTS $MINIO_VOLUMES
      Restart=on-failure

      [Install]
      WantedBy=multi-user.target
      END
      EOT
      ,
      "pct exec ${local.vm_id} -- systemctl daemon-reload",
      "pct exec ${local.vm_id} -- systemctl enable --now minio",
    ]
  }
}
