variable "node_name" {
  type = string
}

variable "node_ssh" {
  type = object({ host = string, user = string, port = number, private_key = string })
}

variable "template_id" {
  type = number
}

variable "vm" {
  type = object({ ip = string, cores = number, memory = number, disk = number, data_disk = number })
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

variable "retention_days" {
  type = number
}

variable "ssh_public_keys" {
  type = list(string)
}

resource "proxmox_virtual_environment_vm" "monitoring" {
  name        = "monitoring-stack"
  node_name   = var.node_name
  description = "Prometheus, Alertmanager, Grafana"
  on_boot     = true
  tags        = ["monitoring", "terraform"]

  clone {
    vm_id = var.template_id
    full  = true
  }

  agent {
    enabled = true
  }

  cpu {
    cores = var.vm.cores
  }

  memory {
    dedicated = var.vm.memory
  }

  disk {
    datastore_id = var.datastore_id
    interface    = "scsi0"
    size         = var.vm.disk
  }

  disk {
    datastore_id = var.datastore_id
    interface    = "scsi1"
    size         = var.vm.data_disk
  }

  network_device {
    bridge   = var.bridge
    firewall = true
  }

  initialization {
    ip_config {
      ipv4 {
        address = "${var.vm.ip}/8"
        gateway = var.gateway
      }
    }

    user_account {
      keys = var.ssh_public_keys
    }
  }
}

# Puts the compose file onto the VM and starts what is in it.
resource "terraform_data" "stack" {
  triggers_replace = [var.retention_days]

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
      "qm guest exec ${proxmox_virtual_environment_vm.monitoring.vm_id} -- docker compose -f /opt/monitoring/docker-compose.yml up -d",
    ]
  }
}

output "vm_id" {
  value = proxmox_virtual_environment_vm.monitoring.vm_id
}
