//! Projects in a temporary folder.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use super::*;
use crate::pve::GuestKind;

struct Tree(tempfile::TempDir);

impl Tree {
    fn new() -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(tree.root().join(ENVIRONMENTS)).unwrap();
        tree
    }

    fn root(&self) -> &Path {
        self.0.path()
    }

    fn env(self, name: &str, tfvars: &str) -> Self {
        self.file(&format!("{ENVIRONMENTS}/{name}/terraform.tfvars"), tfvars)
    }

    fn file(self, path: &str, text: &str) -> Self {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn project(&self) -> Result<Project, HomelabError> {
        Project::find(Some(self.root()), &|_| None, Path::new("/"))
    }

    fn environments(&self) -> Result<Vec<Environment>, HomelabError> {
        self.project()?.environments()
    }

    /// The one environment of a project that is right.
    fn only(&self) -> Environment {
        self.environments().unwrap().remove(0)
    }

    /// What is said about a project that is not, with its root left out.
    fn message(&self) -> String {
        let message = self.environments().unwrap_err().to_string();
        message.replace(&format!("{}/", self.root().display()), "").replace(&format!("{ENVIRONMENTS}/"), "")
    }
}

const PROD: &str = r#"
# the production node
proxmox_endpoint  = "https://192.168.1.100:8006"
proxmox_api_token = "terraform@pve!token=12345678-secret"
default_node      = "pve-prod"
network_dns       = ["1.1.1.1", "9.9.9.9"] // both
backup = { enabled = true, schedule = "01:00", storage = "local", retention = { keep_daily = 7 } }
vms = {
  "web" = { ip = "192.168.1.20/24", cores = 2, tags = ["a"], docker = true }
  db    = { ip = "dhcp", cores = 4 }
}
containers = { "dns" = { ip = "192.168.1.53", nesting = null } }
nothing = null
"#;

const MONITORING: &str = r#"
proxmox_endpoint = "https://[fd00::3]:8006/"
pve_node = "pve-mon"
monitoring = {
  node = null
  vm = { ip = "192.168.1.50", cores = 4 }
  proxmox_nodes = [{ name = "pve-prod", ip = "192.168.1.100", token_value = "s3cret-token" }]
  grafana_admin_password = "graf-s3cret"
}
minio = {
  ip = "192.168.1.52/24"
  root_user = "admin"
  root_password = "p'a\"ss$(x)\nword"
  buckets = ["tfstate-prod", "tfstate-lab"]
}
custom_scrape_configs = <<-EOT
  - job_name: "x"
    static_configs: [{ targets: ["${host}:9100"] }]
EOT
"#;

#[test]
fn an_environment_tells_its_node_storage_and_guests() {
    let prod = Tree::new().env("prod", PROD).only();
    let node = prod.node().unwrap();
    assert_eq!((node.environment.as_str(), node.address.as_str()), ("prod", "192.168.1.100"));
    assert_eq!(node.node.as_ref().unwrap().as_str(), "pve-prod");
    assert_eq!(prod.storage().unwrap().as_str(), "local");
    let web = prod.guest("prod-web").unwrap();
    assert_eq!((web.kind, web.address.as_deref()), (GuestKind::Qemu, Some("192.168.1.20")));
    assert_eq!(prod.guest("prod-db").unwrap().address, None);
    assert_eq!(prod.guest("prod-dns").unwrap().kind, GuestKind::Lxc);
    assert_eq!(prod.guest("web"), None);
    assert_eq!(prod.minio(), None);
}

#[test]
fn the_monitoring_environment_tells_of_minio_and_its_vm() {
    let monitoring = Tree::new().env("monitoring", MONITORING).only();
    assert_eq!(monitoring.node().unwrap().address, "fd00::3");
    assert_eq!(monitoring.node().unwrap().node.as_ref().unwrap().as_str(), "pve-mon");
    assert_eq!(monitoring.guest("monitoring-stack").unwrap().address.as_deref(), Some("192.168.1.50"));
    assert_eq!(monitoring.guest("monitoring-minio").unwrap().address.as_deref(), Some("192.168.1.52"));
    let minio = monitoring.minio().unwrap();
    assert_eq!(
        (minio.address.as_deref(), minio.port, minio.root_user.as_str()),
        (Some("192.168.1.52"), 9000, "admin")
    );
    assert_eq!(minio.root_password.as_ref().unwrap().reveal(), "p'a\"ss$(x)\nword");
    assert_eq!(minio.buckets, ["tfstate-prod", "tfstate-lab"]);
}

#[rstest::rstest]
#[case("vm = { ip = \"192.168.1.53/24\" }, password = \"s\"", Some("192.168.1.53"), true)]
#[case("enabled = true, vm = { ip = \"dhcp\" }", None, true)]
#[case("enabled = false, vm = null", None, false)]
fn any_stack_is_told_by_its_block(#[case] block: &str, #[case] address: Option<&str>, #[case] enabled: bool) {
    let tree = Tree::new().env("monitoring", &format!("pve_ip = \"10.0.0.3\"\ntooling = {{ {block} }}\n"));
    let stack = tree.only().stack("tooling").unwrap().unwrap();
    assert_eq!((stack.address.as_deref(), stack.enabled), (address, enabled));
    assert_eq!(tree.only().stack("forge").unwrap(), None);
}

#[test]
fn a_block_of_a_stack_that_is_wrong_holds_up_only_who_asks_for_it() {
    let tree = Tree::new().env("monitoring", "pve_ip = \"10.0.0.3\"\ntooling = { enabled = \"yes\" }\n");
    let wrong = tree.only().stack("tooling").unwrap_err().to_string();
    assert!(wrong.contains("terraform.tfvars:2:") && wrong.contains("`tooling.enabled` must be"), "{wrong}");
}

#[test]
fn no_secret_is_in_the_debug_output() {
    let tree = Tree::new().env("prod", PROD).env("monitoring", MONITORING);
    let shown = format!("{:?} {:?}", tree.project().unwrap(), tree.environments().unwrap());
    for secret in ["12345678-secret", "s3cret", "$(x)"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}

#[test]
fn minio_has_defaults() {
    let minio =
        Tree::new().env("m", "pve_ip = \"10.0.0.1\"\nminio = { ip = \"10.0.0.2\" }").only().minio().cloned();
    let minio = minio.unwrap();
    assert_eq!((minio.port, minio.root_user.as_str(), minio.root_password), (9000, "minioadmin", None));
    assert!(minio.buckets.is_empty());
}

#[rstest::rstest]
#[case(
    "proxmox_endpoint = \"https://a:8006\"\npve_ip = \"b\"\ndefault_node = \"c\"\npve_node = \"d\"",
    "a",
    Some("c")
)]
#[case("pve_ip = \"10.0.0.1/24\"\npve_node = \"d\"", "10.0.0.1", Some("d"))]
#[case("default_node = \"c\"", "c", Some("c"))]
#[case("proxmox_endpoint = null\ndefault_node = \"\"\npve_ip = \"b\"", "b", None)]
fn the_node_comes_from_the_first_key_that_tells(
    #[case] tfvars: &str,
    #[case] address: &str,
    #[case] name: Option<&str>,
) {
    let environment = Tree::new().env("e", tfvars).only();
    let node = environment.node().unwrap();
    assert_eq!(node.address, address);
    assert_eq!(node.node.as_ref().map(crate::pve::NodeName::as_str), name);
}

#[test]
fn later_files_win_key_by_key() {
    let tree = Tree::new()
        .env("prod", "pve_ip = \"first\"\nvms = { a = { ip = \"1.1.1.1\" } }\ndefault_node = \"kept\"")
        .file(&format!("{ENVIRONMENTS}/prod/20.auto.tfvars"), "pve_ip = \"last\"")
        .file(
            &format!("{ENVIRONMENTS}/prod/10.auto.tfvars"),
            "pve_ip = \"middle\"\nvms = { b = { ip = \"2.2.2.2\" } }",
        )
        .file(&format!("{ENVIRONMENTS}/prod/other.tfvars"), "pve_ip = \"not read\"")
        .file(&format!("{ENVIRONMENTS}/prod/main.tf"), "pve_ip = = broken");
    let prod = tree.only();
    assert_eq!(prod.node().unwrap().address, "last");
    assert_eq!(prod.node().unwrap().node.as_ref().unwrap().as_str(), "kept");
    let names: Vec<_> = prod.guests().iter().map(|guest| guest.name.as_str()).collect();
    assert_eq!(names, ["prod-b"]);
}

#[test]
fn values_are_data() {
    let name = "we'b \\\"$(reboot)\\\";\\n\\u001b[2J";
    let tree = Tree::new()
        .env("pr od;$(x)", &format!("pve_ip = \"$(reboot)\"\nvms = {{ \"{name}\" = {{ ip = \"a'b\" }} }}"));
    let environment = tree.only();
    assert_eq!(environment.name(), "pr od;$(x)");
    assert_eq!(environment.node().unwrap().address, "$(reboot)");
    assert_eq!(environment.guests()[0].name, "pr od;$(x)-we'b \"$(reboot)\";\n\x1b[2J");
    assert_eq!(environment.guests()[0].address.as_deref(), Some("a'b"));
}

#[test]
fn arithmetic_is_done_as_far_as_it_has_a_result() {
    for endless in [
        "1 / 0",
        "1 % (2 - 2)",
        "-1e308 * 10",
        "18446744073709551615 + 1",
        "0 - 18446744073709551615",
        "[for x in [0] : 1 / x]",
        "\"${1 / 0}\"",
    ] {
        let others = format!("pve_ip = \"10.0.0.1\"\na = {endless}\n");
        assert_eq!(Tree::new().env("e", &others).only().node().unwrap().address, "10.0.0.1");
        let message = Tree::new().env("e", &format!("minio = {{ port = {endless} }}\n")).message();
        assert!(message.contains("`minio` is not a plain value"), "{endless}: {message}");
    }
    let sum = "pve_ip = \"10.0.0.1\"\nminio = { ip = \"10.0.0.2\", port = 3 * (3000 + 0) % 9001 }\n";
    assert_eq!(Tree::new().env("m", sum).only().minio().unwrap().port, 9000);
}

#[rstest::rstest]
#[case("a = 1\nb = = 2\n", "e/terraform.tfvars:2:5: ")]
#[case("a = \"${VAR:?required}\"\n", "e/terraform.tfvars:1:11: ")]
#[case("a = [1,\n", "e/terraform.tfvars:")]
#[case("ä = 1\npve_ip = \"x\n", "e/terraform.tfvars:2:")]
#[case(
    "minio {\n ip = \"x\"\n}\n",
    "e/terraform.tfvars:1:1: `minio` is a block; values are written `minio = { … }`"
)]
#[case(
    "pve_ip = \"a\"\n\n  pve_ip = \"b\"\n",
    "e/terraform.tfvars:3:3: invalid attribute; expected unique attribute key"
)]
#[case("\nvms = [1]\n", "e/terraform.tfvars:2:1: `vms` must be a map: `{ … }`")]
#[case("\nvms = { \"a\\nb\" = { ip = 1 } }\n", "e/terraform.tfvars:2:1: `vms.a\\nb.ip` must be a text")]
#[case(
    "pve_ip = var.ip\n",
    "e/terraform.tfvars:1:1: `pve_ip` is not a plain value: tfvars cannot use variables or functions"
)]
#[case(
    "default_node = \"a b\"\n",
    "e/terraform.tfvars:1:1: `default_node` does not fit: `a b` is not a node name: letters, digits and hyphens only"
)]
#[case("minio = { port = 70000 }\n", "e/terraform.tfvars:1:1: `minio.port` must be a port: 1 to 65535")]
#[case("minio = { buckets = \"a\" }\n", "e/terraform.tfvars:1:1: `minio.buckets` must be a list of texts")]
#[case(
    "proxmox_endpoint = \"https://\"\n",
    "e/terraform.tfvars:1:1: `proxmox_endpoint` names no host; it is written like `https://192.168.1.100:8006`"
)]
fn a_mistake_is_named_with_its_place(#[case] tfvars: &str, #[case] beginning: &str) {
    let message = Tree::new().env("e", tfvars).message();
    assert!(message.starts_with(beginning), "{message}");
    assert!(!message.contains('\n'), "{message}");
}

#[test]
fn a_secret_on_a_broken_line_is_not_shown() {
    let message = Tree::new().env("e", "proxmox_api_token = \"root@pam!x=hunter2\" oops\n").message();
    assert!(message.starts_with("e/terraform.tfvars:1:"), "{message}");
    assert!(!message.contains("hunter2"), "{message}");
}

#[test]
fn a_file_that_is_not_text_is_named_with_its_place() {
    let tree = Tree::new();
    let dir = tree.root().join(ENVIRONMENTS).join("e");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("terraform.tfvars"), b"a = 1\nb = \"\xff\"\n").unwrap();
    assert_eq!(tree.message(), "e/terraform.tfvars:2:6: not UTF-8 text");
}

#[test]
fn the_mistakes_of_all_environments_are_reported() {
    let message = Tree::new().env("a", "x = = 1").env("b", PROD).env("c", "y = ").message();
    let lines: Vec<_> = message.lines().collect();
    assert_eq!(lines.len(), 2, "{message}");
    assert!(lines[0].starts_with("a/terraform.tfvars:1:5: "), "{message}");
    assert!(lines[1].starts_with("c/terraform.tfvars:1:"), "{message}");
}

#[test]
fn windows_line_ends_and_a_byte_order_mark_are_read() {
    let environment = Tree::new().env("e", "\u{feff}# note\r\npve_ip = \"10.0.0.1\"\r\n").only();
    assert_eq!(environment.node().unwrap().address, "10.0.0.1");
}

#[test]
fn without_tfvars_the_error_names_what_was_searched_and_the_flag() {
    let tree = Tree::new();
    let message = tree.message();
    assert!(message.contains(ENVIRONMENTS) && message.contains("--project"), "{message}");
    fs::create_dir(tree.root().join(ENVIRONMENTS).join("empty")).unwrap();
    let message = tree.message();
    assert!(message.contains("`empty`") && message.contains("terraform.tfvars"), "{message}");
}

#[test]
fn a_missing_value_is_named_with_keys_files_and_the_way_out() {
    let environment = Tree::new().env("e", "other = 1").only();
    let message = environment.node().unwrap_err().to_string();
    for part in ["`e`", "`proxmox_endpoint`", "`pve_node`", "e/terraform.tfvars`", "--env", "restore.toml"] {
        assert!(message.contains(part), "{part} not in {message}");
    }
}

#[test]
fn restore_toml_outweighs_tfvars_and_adds_environments() {
    let tree = Tree::new()
        .env("prod", PROD)
        .file("elsewhere/terraform.tfvars", "default_node = \"far\"")
        .file(
            "restore.toml",
            "[environments.prod]\naddress = \"10.9.9.9\"\nnode = \"other\"\nssh_user = \"adm\"\nssh_port = 2222\n\
             storage = \"nas\"\n[environments.far]\ntfvars_dir = \"elsewhere\"\n[environments.bare]\naddress = \"1.2.3.4\"\n\
             [guests.101]\nports = [80]\naddress = \"10.1.1.1\"\n[prove]\nwait = 5\n",
        );
    let project = tree.project().unwrap();
    let environments = project.environments().unwrap();
    let names: Vec<_> = environments.iter().map(Environment::name).collect();
    assert_eq!(names, ["bare", "far", "prod"]);
    assert_eq!(environments[0].node().unwrap().address, "1.2.3.4");
    assert_eq!(environments[1].node().unwrap().address, "far");
    let node = environments[2].node().unwrap();
    assert_eq!((node.address.as_str(), node.ssh_port), ("10.9.9.9", Some(2222)));
    assert_eq!((node.ssh_user.as_deref(), node.node.as_ref().unwrap().as_str()), (Some("adm"), "other"));
    assert_eq!(environments[2].storage().unwrap().as_str(), "nas");
    let checks = project.checks("101".parse().unwrap());
    assert_eq!((checks.address.as_deref(), checks.ports), (Some("10.1.1.1"), vec![80]));
    assert_eq!(checks.wait.as_secs(), 5);
    assert_eq!(project.checks("102".parse().unwrap()).ports, [22]);
}

#[test]
fn a_misspelt_environment_is_refused_with_the_known_ones() {
    let tree = Tree::new().env("prod", PROD).file("restore.toml", "[environments.prd]\nssh_port = 2222\n");
    assert_eq!(
        tree.message(),
        "there is no environment `prd`; the project has `prod`; choose one with `--env`"
    );
    let tree = Tree::new().env("prod", PROD);
    let message = tree.project().unwrap().selected(Some("lab")).unwrap_err().to_string();
    assert!(message.contains("`lab`") && message.contains("`prod`"), "{message}");
}

#[test]
fn one_environment_can_be_chosen_though_another_is_broken() {
    let tree = Tree::new().env("prod", PROD).env("lab", "x = = 1");
    let project = tree.project().unwrap();
    assert_eq!(project.selected(Some("prod")).unwrap()[0].name(), "prod");
    assert!(project.selected(None).is_err());
}

#[test]
fn a_folder_without_tfvars_is_not_selected_unless_named() {
    let tree = Tree::new().env("prod", PROD);
    fs::create_dir(tree.root().join(ENVIRONMENTS).join(".terraform")).unwrap();
    let selected = tree.project().unwrap().selected(None).unwrap();
    assert_eq!(selected.iter().map(Environment::name).collect::<Vec<_>>(), ["prod"]);
}

#[test]
fn the_flag_outweighs_the_variable_which_outweighs_the_folder() {
    let [flag, variable, here] = [Tree::new(), Tree::new(), Tree::new()];
    let below: PathBuf = here.root().join(ENVIRONMENTS).join("prod/deep");
    fs::create_dir_all(&below).unwrap();
    let env = |name: &str| (name == "RESTORE_PROJECT").then(|| OsString::from(variable.root()));
    let empty = |_: &str| Some(OsString::new());
    let root = |explicit, env: &dyn Fn(&str) -> Option<OsString>| {
        Project::find(explicit, env, &below).unwrap().root().to_owned()
    };
    assert_eq!(root(Some(flag.root()), &env), flag.root());
    assert_eq!(root(None, &env), variable.root());
    assert_eq!(root(None, &empty), here.root());
    assert_eq!(
        root(Some(Path::new("../../../../..")), &env).canonicalize().unwrap(),
        here.root().canonicalize().unwrap()
    );
}

#[test]
fn no_project_is_an_error_that_says_how_to_name_one() {
    let nowhere = tempfile::tempdir().unwrap();
    let message = Project::find(None, &|_| None, nowhere.path()).unwrap_err().to_string();
    for part in [nowhere.path().to_str().unwrap(), ENVIRONMENTS, "--project", "RESTORE_PROJECT"] {
        assert!(message.contains(part), "{part} not in {message}");
    }
    let message = Project::find(Some(nowhere.path()), &|_| None, Path::new("/")).unwrap_err().to_string();
    assert!(message.contains("(--project)"), "{message}");
}

#[cfg(unix)]
#[test]
fn symbolic_links_are_followed() {
    let tree = Tree::new().file("stuff/prod/vars", PROD);
    let environments = tree.root().join(ENVIRONMENTS);
    std::os::unix::fs::symlink("vars", tree.root().join("stuff/prod/terraform.tfvars")).unwrap();
    std::os::unix::fs::symlink(tree.root().join("stuff/prod"), environments.join("linked")).unwrap();
    assert_eq!(tree.only().name(), "linked");
    assert_eq!(tree.only().node().unwrap().address, "192.168.1.100");
}
