# Some call it `monitoring`, others `monitoring_stack`.
module "CALL" {
  source = "../../modules/monitoring-stack"

  node_name       = coalesce(var.monitoring.node, var.default_node)
  node_ssh        = local.node_ssh
  template_id     = var.vm_template_id
  vm              = var.monitoring.vm
  gateway         = var.network_gateway
  bridge          = var.network_bridge
  datastore_id    = var.default_datastore
  retention_days  = var.monitoring.retention_days
  ssh_public_keys = var.ssh_public_keys
}
