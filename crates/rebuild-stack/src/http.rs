//! Services of which an answer by HTTP is proof enough.

use std::time::{Duration, Instant};

use restore_common::{
    contact::at_once,
    homelab::{AsksHttp, HomelabError},
    monitoring::{Inventory, Patience, Proof},
    probe::{Wait, Waited},
    procedure::{CheckResult, CheckStatus},
    ui::format,
};

use crate::{Place, Services};

/// How long one question may take, and the pause between two.
const ATTEMPT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(250);

/// How often the operator is told that something is still waited for, at most.
const SAY_EVERY: Duration = Duration::from_secs(5);

/// A service, and the answer that it gives when it works.
#[derive(Clone, Debug)]
pub struct HttpService {
    id: &'static str,
    title: String,
    asks: AsksHttp,
}

impl HttpService {
    /// The service works when `url` answers with a status below 400. `{address}` in it stands for the VM's address; `id` is
    /// its stable name in reports, `title` what it shows: `the forge answers`.
    pub fn new(id: &'static str, title: &str, url: &str) -> Self {
        let asks = AsksHttp { url: url.to_owned(), status: None, text: None, insecure: false };
        Self { id, title: title.to_owned(), asks }
    }

    /// And this is in the answer.
    #[must_use]
    pub fn saying(mut self, text: &str) -> Self {
        self.asks.text = Some(text.to_owned());
        self
    }

    /// It signs its own certificate.
    #[must_use]
    pub fn insecure(mut self) -> Self {
        self.asks.insecure = true;
        self
    }

    fn unasked(&self) -> CheckResult {
        CheckResult {
            id: self.id.to_owned(),
            title: self.title.clone(),
            status: CheckStatus::Failed,
            saw: "interrupted before it was asked".to_owned(),
            seconds: 0.0,
        }
    }
}

/// All such services of a stack. Those that do not work yet are asked again until time is up.
#[derive(Clone, Debug)]
pub struct HttpServices {
    address: String,
    services: Vec<HttpService>,
}

impl HttpServices {
    /// These, at the address of the stack's VM. An error: nobody tells that.
    pub fn at(place: &Place<'_>, services: Vec<HttpService>) -> Result<Self, HomelabError> {
        Ok(Self { address: place.address()?.to_owned(), services })
    }

    /// Asks those that have not answered well yet, all at the same time.
    fn ask(&self, checks: &mut [CheckResult], begun: Instant) -> anyhow::Result<()> {
        let mut open: Vec<_> = self.services.iter().zip(checks).filter(|(_, check)| !passed(check)).collect();
        let answers = at_once(&open, |(service, _)| service.asks.ask(&self.address, ATTEMPT))?;
        for ((_, check), answer) in open.iter_mut().zip(answers) {
            check.status = if answer.is_ok() { CheckStatus::Passed } else { CheckStatus::Failed };
            check.saw = answer.unwrap_or_else(|saw| saw);
            check.seconds = begun.elapsed().as_secs_f64();
        }
        Ok(())
    }
}

fn passed(check: &CheckResult) -> bool {
    check.status == CheckStatus::Passed
}

impl Services for HttpServices {
    fn address(&self) -> &str {
        &self.address
    }

    fn checks(&self) -> Vec<(&'static str, String)> {
        self.services.iter().map(|service| (service.id, service.title.clone())).collect()
    }

    fn prove(&self, _: bool, _: &Inventory, patience: &Patience<'_>) -> anyhow::Result<Proof> {
        let mut checks: Vec<_> = self.services.iter().map(HttpService::unasked).collect();
        let (begun, mut told) = (Instant::now(), None::<Instant>);
        let Patience { limit, interrupted, say } = *patience;
        let wait = Wait { what: "the services", limit, interval: PAUSE, interrupted };
        let waited = wait.until(|| {
            self.ask(&mut checks, begun)?;
            let Some(open) = checks.iter().find(|check| !passed(check)) else { return Ok(Some(())) };
            if !limit.is_zero() && told.is_none_or(|at| at.elapsed() >= SAY_EVERY) {
                told = Some(Instant::now());
                say(&format!("{}: {}", open.title, open.saw));
            }
            anyhow::Ok(None)
        })?;
        if waited == Waited::TimedOut && !limit.is_zero() {
            for check in checks.iter_mut().filter(|check| !passed(check)) {
                check.saw = format!("{}, for {}", check.saw, format::duration(limit));
            }
        }
        Ok(Proof { checks, seen: Inventory::default() })
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cell::Cell,
        io::{Read as _, Write as _},
        net::{TcpListener, TcpStream},
        thread,
    };

    use super::*;

    /// A server of this machine that gives each visitor the next of these answers; its port.
    fn server(answers: &'static [&'static str]) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let answer = |mut stream: TcpStream, text: &str| {
            let mut heard = [0; 1024];
            let _ = stream.read(&mut heard).unwrap();
            write!(stream, "HTTP/1.1 {text}").unwrap();
        };
        thread::spawn(move || answers.iter().for_each(|text| answer(listener.accept().unwrap().0, text)));
        port
    }

    fn services(ports: &[u16]) -> HttpServices {
        let service = |port: &u16| {
            HttpService::new("forge", "the forge answers", &format!("http://{{address}}:{port}/health"))
                .saying("fine")
        };
        HttpServices { address: "127.0.0.1".to_owned(), services: ports.iter().map(service).collect() }
    }

    fn proof(
        services: &HttpServices,
        limit: u64,
        interrupted: &dyn Fn() -> bool,
    ) -> Vec<(CheckStatus, String)> {
        let patience = Patience { limit: Duration::from_secs(limit), interrupted, say: &|_| {} };
        let proof = services.prove(false, &Inventory::default(), &patience).unwrap();
        proof.checks.into_iter().map(|check| (check.status, check.saw)).collect()
    }

    const FINE: &str = "200 OK\r\nContent-Length: 4\r\n\r\nfine";
    const BUSY: &str = "503 Busy\r\nContent-Length: 0\r\n\r\n";

    #[test]
    fn what_is_still_starting_is_waited_for_and_what_works_is_asked_once() {
        let (starting, working) = (server(&[BUSY, BUSY, FINE]), server(&[FINE]));
        let seen = proof(&services(&[starting, working]), 60, &|| false);
        let saw = |port| {
            (CheckStatus::Passed, format!("http://127.0.0.1:{port}/health: status 200, with the text"))
        };
        assert_eq!(seen, [saw(starting), saw(working)]);
    }

    #[test]
    fn what_never_works_is_told_with_what_was_seen() {
        let port = server(&[BUSY]);
        let seen = proof(&services(&[port]), 0, &|| false);
        let saw = format!("http://127.0.0.1:{port}/health: status 503 instead of below 400");
        assert_eq!(seen, [(CheckStatus::Failed, saw)]);
        // Nobody listens there any more.
        let seen = proof(&services(&[port]), 1, &|| false);
        assert!(seen[0].0 == CheckStatus::Failed && seen[0].1.ends_with("refused, for 1.0 s"), "{seen:?}");
    }

    #[test]
    fn an_interruption_ends_the_wait() {
        let port = server(&[BUSY]);
        let asked = Cell::new(false);
        let seen = proof(&services(&[port]), 3600, &|| asked.replace(true));
        assert!(seen[0].0 == CheckStatus::Failed && seen[0].1.contains("status 503"), "{seen:?}");
        let seen = proof(&services(&[port]), 3600, &|| true);
        assert_eq!(seen, [(CheckStatus::Failed, "interrupted before it was asked".to_owned())]);
    }
}
