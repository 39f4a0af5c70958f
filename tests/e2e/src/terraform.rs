//! A Terraform that goes wrong when it is told to.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use restore_lab::terraform;

/// The real Terraform, which counts its calls, and at one of them fails or kills the program that called it.
#[derive(Debug)]
pub struct Faulty {
    folder: PathBuf,
}

impl Faulty {
    /// Writes it into `folder`, which it makes.
    pub fn write(folder: &Path) -> io::Result<Self> {
        let real = terraform::program().ok_or_else(|| io::Error::other("there is no terraform"))?;
        // `strike` says `NUMBER fail` or `NUMBER kill`; `pid` is that of the program.
        let script = format!(
            "#!/bin/bash\ncd '{folder}' && echo >>calls && read -r number what <strike\n\
             if [ \"$(wc -l <calls)\" = \"$number\" ]; then\n\
             case $what in\n\
             fail) echo 'the provider caught fire' >&2; exit 1;;\n\
             kill) until [ -s pid ]; do read -rt 0.01 <> <(:); done; kill -9 \"$(cat pid)\";;\n\
             esac\nfi\ncd - >/dev/null\nexec '{real}' \"$@\"\n",
            folder = folder.display(),
            real = real.display()
        );
        fs::create_dir_all(folder)?;
        let faulty = Self { folder: folder.to_owned() };
        fs::write(faulty.program(), script)?;
        fs::set_permissions(faulty.program(), fs::Permissions::from_mode(0o755))?;
        Ok(faulty)
    }

    /// The program to be called in place of Terraform.
    pub fn program(&self) -> PathBuf {
        self.folder.join("terraform")
    }

    /// From now on it counts anew, and the call of this number goes wrong: `fail`, or `kill`.
    pub fn strike(&self, number: usize, what: &str) -> io::Result<()> {
        for name in ["calls", "pid"] {
            fs::write(self.folder.join(name), "")?;
        }
        fs::write(self.folder.join("strike"), format!("{number} {what}\n"))
    }

    /// From now on it counts anew, and no call goes wrong.
    pub fn spare(&self) -> io::Result<()> {
        self.strike(0, "nothing")
    }

    /// The program that a strike kills.
    pub fn called_by(&self, pid: u32) -> io::Result<()> {
        fs::write(self.folder.join("pid"), pid.to_string())
    }

    /// How often it was called since.
    pub fn calls(&self) -> io::Result<usize> {
        Ok(fs::read_to_string(self.folder.join("calls"))?.lines().count())
    }
}
