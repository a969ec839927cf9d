//! Pods without a node and the nodes there are in; a node for each, or the reason why not, out.
//!
//! A [`Cluster`] is kept from look to look: it is told what changed, and remembers for each kind of
//! pod which nodes fit, until one of them changes. A cluster of 200 nodes with 5,000 pods is looked at
//! in microseconds, not in tens of milliseconds.

use super::fit;
use super::guest::{Guest, Rules};
use super::requirements::{Refusal, Requirements};
use super::site::{Ask, Facts, Names, Site};
use api::accelerator::Accelerator;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt as _;
use std::collections::{BTreeMap, BTreeSet};

/// The scheduler a pod names when it means this one.
pub const SCHEDULER_NAME: &str = "default-scheduler";

/// How the reason begins for which a pod waits whose guest would be emulated beside guests of other
/// owners.
pub const SHARED: &str = "node(s) had emulated guests of other namespaces";

/// What becomes of one pod that has no node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    /// It shall run on this node.
    Bind {
        /// The node's name.
        node: String,
    },
    /// It must wait.
    Wait {
        /// kube-scheduler's word for why: `Unschedulable` or `SchedulingGated`.
        reason: &'static str,
        /// kube-scheduler's sentence.
        message: String,
    },
}

/// Pods that ask for the same, in one [`Cluster`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shape(usize);

/// What is known of one shape.
#[derive(Debug)]
struct Known {
    requirements: Requirements,
    /// What of them a node meets or not, whatever is taken from it.
    kind: usize,
    asks: Vec<Ask>,
    /// cpu and memory: what counts when all else is equal.
    weighed: [(usize, i128); 2],
    /// By the number of a site.
    seen: Vec<Seen>,
    /// The revision at which no node fitted.
    fitted_none_at: Option<u64>,
    /// Why it waited, at a revision.
    told: Option<(u64, String)>,
}

/// How one shape fits one site, as of a revision of the site.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    revision: u64,
    /// None: it does not fit.
    suitability: Option<Suitability>,
}

/// How well a node suits: what stands first counts first, and greater is better.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Suitability {
    /// A guest that prefers hardware gets it there. Before everything that the pod merely prefers:
    /// hardware is never left idle beside a guest that is emulated for want of it.
    pub(super) hardware: bool,
    /// The weights of the preferences that the node meets.
    pub(super) preference: i64,
    /// The taints that it would rather avoid, negative.
    pub(super) avoided: i64,
    /// How crowded the node would be with emulated processors, if the guest is emulated there;
    /// negative: a busy emulated processor costs a core, however little its pod asks for.
    pub(super) crowd: i128,
    /// The room left of cpu and memory.
    pub(super) room: i128,
}

/// A pod that takes room.
#[derive(Debug, Clone, Copy)]
struct Taken {
    site: usize,
    shape: Shape,
    /// What runs its guest, as its node says; none before that is known.
    actual: Option<Accelerator>,
    /// Whether it is counted as emulated.
    emulated: bool,
}

/// The nodes with what is taken from them.
#[derive(Debug)]
pub struct Cluster {
    names: Names,
    /// The number of the resource `pods`.
    pods: usize,
    sites: Vec<Site>,
    /// The numbers of sites, by the names of their nodes.
    by_name: BTreeMap<String, usize>,
    free_sites: Vec<usize>,
    shapes: Vec<Known>,
    by_key: BTreeMap<String, Shape>,
    /// The numbers of kinds, by the key of what makes one.
    kinds: BTreeMap<String, usize>,
    taken: BTreeMap<String, Taken>,
    rules: Rules,
    /// Counts changes; the first is 1, so that a 0 in [`Seen`] is never up to date.
    revision: u64,
    /// Sites with the revisions of the last changes that can have made their nodes fit, which taking
    /// room never does; each site once.
    helped: BTreeSet<(u64, usize)>,
}

impl Default for Cluster {
    fn default() -> Self {
        let mut names = Names::default();
        Self {
            pods: names.number("pods"),
            names,
            sites: Vec::new(),
            by_name: BTreeMap::new(),
            free_sites: Vec::new(),
            shapes: Vec::new(),
            by_key: BTreeMap::new(),
            kinds: BTreeMap::new(),
            taken: BTreeMap::new(),
            rules: Rules::default(),
            revision: 1,
            helped: BTreeSet::new(),
        }
    }
}

impl Cluster {
    /// A node was created or changed.
    pub fn set_node(&mut self, node: &Node) {
        let facts = Facts::of(node);
        let number = self.site(&facts.name);
        let site = &mut self.sites[number];
        if site.facts.as_ref() == Some(&facts) {
            return;
        }
        site.set(facts, &mut self.names);
        self.revision += 1;
        site.revision = self.revision;
        let again: Vec<String> = site.uids.iter().cloned().collect();
        self.help(number);
        // Of guests that do not run yet it is only known what their node said at the time.
        for uid in again {
            self.recount(&uid);
        }
    }

    /// The rules for emulated guests changed.
    pub fn set_rules(&mut self, rules: Rules) {
        if rules == self.rules {
            return;
        }
        self.rules = rules;
        self.revision += 1;
        for number in 0..self.sites.len() {
            self.sites[number].revision = self.revision;
            self.help(number);
        }
    }

    /// The site's last change can have made it fit.
    fn help(&mut self, number: usize) {
        let before = std::mem::replace(&mut self.sites[number].helped, self.revision);
        self.helped.remove(&(before, number));
        self.helped.insert((self.revision, number));
    }

    /// A node is gone. Pods bound to it still are.
    pub fn remove_node(&mut self, name: &str) {
        let Some(number) = self.by_name.get(name).copied() else {
            return;
        };
        self.revision += 1;
        let site = &mut self.sites[number];
        site.facts = None;
        site.revision = self.revision;
        self.drop_if_empty(name);
    }

    /// The names of the nodes there are.
    pub fn nodes(&self) -> impl Iterator<Item = &str> {
        let present = |number: &usize| self.sites[*number].facts.is_some();
        let present = self.by_name.iter().filter(move |(_, it)| present(it));
        present.map(|(name, _)| name.as_str())
    }

    /// What `pod` asks for.
    pub fn shape(&mut self, pod: &Pod) -> Shape {
        let requirements = Requirements::of(pod);
        let key = requirements.key();
        if let Some(shape) = self.by_key.get(&key) {
            return *shape;
        }
        let asks: Vec<Ask> = requirements
            .requested
            .iter()
            .map(|(name, amount)| Ask {
                name: name.clone(),
                number: self.names.number(name),
                amount: *amount,
            })
            .collect();
        let weighed = ["cpu", "memory"].map(|name| {
            let asked = requirements.requested.get(name).copied().unwrap_or(0);
            (self.names.number(name), asked)
        });
        let kinds = self.kinds.len();
        let kind = *self.kinds.entry(requirements.kind()).or_insert(kinds);
        let shape = Shape(self.shapes.len());
        self.shapes.push(Known {
            requirements,
            kind,
            asks,
            weighed,
            seen: Vec::new(),
            fitted_none_at: None,
            told: None,
        });
        self.by_key.insert(key, shape);
        shape
    }

    /// Whether pods of `shape` have guests that run in software where hardware does not work.
    pub fn may_be_emulated(&self, shape: Shape) -> bool {
        let guest = self.shapes[shape.0].requirements.guest.as_ref();
        guest.is_some_and(Guest::may_be_emulated)
    }

    /// How many shapes are remembered.
    pub fn shapes(&self) -> usize {
        self.shapes.len()
    }

    /// A pod of `shape` that goes by `uid` is bound to `node`, or about to be. A second time it
    /// moves there.
    pub fn take(&mut self, uid: &str, shape: Shape, node: &str) {
        if let Some(known) = self.taken.get(uid)
            && known.shape == shape
            && self.by_name.get(node) == Some(&known.site)
        {
            return;
        }
        self.release(uid);
        let site = self.site(node);
        let mut taken = Taken {
            site,
            shape,
            actual: None,
            emulated: false,
        };
        taken.emulated = self.is_emulated(&taken);
        self.taken.insert(uid.to_owned(), taken);
        self.sites[site].uids.insert(uid.to_owned());
        self.count(&taken, 1);
    }

    /// What runs the guest of a pod that takes room, as its node says; none: not known.
    pub fn runs_on(&mut self, uid: &str, accelerator: Option<Accelerator>) {
        let Some(taken) = self.taken.get_mut(uid) else {
            return;
        };
        if taken.actual != accelerator {
            taken.actual = accelerator;
            self.recount(uid);
        }
    }

    /// A pod that took room is over or gone.
    pub fn release(&mut self, uid: &str) {
        if let Some(taken) = self.taken.remove(uid) {
            self.count(&taken, -1);
            let number = taken.site;
            self.sites[number].uids.remove(uid);
            self.help(number);
            if self.sites[number].facts.is_none() {
                let name = self.by_name.iter().find(|(_, it)| **it == number);
                let name = name.map(|(name, _)| name.clone()).unwrap_or_default();
                self.drop_if_empty(&name);
            }
        }
    }

    /// Whether the guest of a pod that takes room is emulated: as its node says, or else as the node's
    /// facts have it; of a node that nothing is known of, if it may be.
    fn is_emulated(&self, taken: &Taken) -> bool {
        let Some(guest) = &self.shapes[taken.shape.0].requirements.guest else {
            return false;
        };
        let facts = self.sites[taken.site].facts.as_ref();
        let accelerator = taken.actual.or_else(|| guest.accelerator(&facts?.node));
        match accelerator {
            Some(accelerator) => accelerator == Accelerator::Tcg,
            None => guest.may_be_emulated(),
        }
    }

    /// Counts a pod again whose guest may be emulated now, or no longer.
    fn recount(&mut self, uid: &str) {
        let Some(mut taken) = self.taken.get(uid).copied() else {
            return;
        };
        let emulated = self.is_emulated(&taken);
        if emulated == taken.emulated {
            return;
        }
        self.count(&taken, -1);
        taken.emulated = emulated;
        self.count(&taken, 1);
        self.help(taken.site);
        self.taken.insert(uid.to_owned(), taken);
    }

    fn count(&mut self, taken: &Taken, times: i128) {
        self.revision += 1;
        let site = &mut self.sites[taken.site];
        let known = &self.shapes[taken.shape.0];
        site.count(&known.asks, times);
        if taken.emulated
            && let Some(guest) = &known.requirements.guest
        {
            site.count_emulated(guest, times);
        }
        site.revision = self.revision;
    }

    fn site(&mut self, name: &str) -> usize {
        if let Some(number) = self.by_name.get(name) {
            return *number;
        }
        let number = self.free_sites.pop().unwrap_or_else(|| {
            self.sites.push(Site::default());
            self.sites.len() - 1
        });
        self.sites[number].number = number;
        self.by_name.insert(name.to_owned(), number);
        number
    }

    fn drop_if_empty(&mut self, name: &str) {
        if let Some(number) = self.by_name.get(name).copied()
            && self.sites[number].facts.is_none()
            && self.sites[number].is_empty()
        {
            self.by_name.remove(name);
            self.helped.remove(&(self.sites[number].helped, number));
            self.sites[number] = Site::default();
            self.free_sites.push(number);
        }
    }

    /// Whether a pod of `shape` may fit somewhere: no, if none did and nothing changed for the better
    /// since.
    pub(super) fn may_fit(&self, shape: Shape) -> bool {
        let before = self.shapes[shape.0].fitted_none_at;
        before.is_none_or(|at| self.helped.last().is_some_and(|(latest, _)| *latest > at))
    }

    /// The best node for a pod of `shape`, if any fits. Of equally good ones it is the first by name.
    pub fn choose(&mut self, shape: Shape) -> Option<&str> {
        if !self.may_fit(shape) {
            return None;
        }
        let known = &mut self.shapes[shape.0];
        if known.requirements.refusal.is_some() {
            return None;
        }
        let mut best = Best::default();
        match known.fitted_none_at.replace(self.revision) {
            // Where nothing changed for the better since none fitted, none does.
            Some(at) => {
                for (_, number) in self.helped.range((at + 1, 0)..) {
                    let site = &mut self.sites[*number];
                    // It changed since, so that nothing that was seen of it still holds.
                    let suitability = known.suitability(site, self.pods, &self.rules);
                    best.consider(suitability, &self.sites, *number);
                }
            }
            None => {
                known.seen.resize(self.sites.len(), Seen::default());
                for number in self.by_name.values() {
                    let site = &mut self.sites[*number];
                    let suitability = known.look(site, self.pods, &self.rules);
                    best.consider(suitability, &self.sites, *number);
                }
            }
        }
        let (_, number) = best.0?;
        known.fitted_none_at = None;
        name(&self.sites, number)
    }

    /// Whether a pod of `shape` fits `node`, and its guest would run there on hardware that works.
    pub fn is_hardware(&mut self, shape: Shape, node: &str) -> bool {
        let known = &mut self.shapes[shape.0];
        let Some(number) = self.by_name.get(node).copied() else {
            return false;
        };
        if known.requirements.refusal.is_some() {
            return false;
        }
        known.seen.resize(self.sites.len(), Seen::default());
        let site = &mut self.sites[number];
        let fits = known.look(site, self.pods, &self.rules).is_some();
        let guest = known.requirements.guest.as_ref();
        let facts = site
            .facts
            .as_ref()
            .filter(|facts| facts.node.verdict.usable);
        let accelerator = guest.and_then(|guest| guest.accelerator(&facts?.node));
        fits && accelerator == Some(Accelerator::Kvm)
    }

    /// Every node that fits a pod of `shape`, by name.
    pub fn fitting(&mut self, shape: Shape) -> Vec<&str> {
        let known = &mut self.shapes[shape.0];
        known.seen.resize(self.sites.len(), Seen::default());
        let refused = known.requirements.refusal.is_some();
        let mut fitting = Vec::new();
        for (name, number) in self.by_name.iter().filter(|_| !refused) {
            let site = &mut self.sites[*number];
            if known.look(site, self.pods, &self.rules).is_some() {
                fitting.push(name.as_str());
            }
        }
        fitting
    }

    /// Finds a node for a pod of `shape`, or says why there is none.
    pub fn place(&mut self, shape: Shape) -> Placement {
        if let Some(node) = self.choose(shape) {
            return Placement::Bind {
                node: node.to_owned(),
            };
        }
        let reason = match self.shapes[shape.0].requirements.refusal {
            Some(Refusal::Gated) => "SchedulingGated",
            _ => "Unschedulable",
        };
        let told = self.shapes[shape.0].told.take();
        let message = match told {
            Some((at, message)) if at == self.revision => message,
            _ => self.why_not(&self.shapes[shape.0]),
        };
        self.shapes[shape.0].told = Some((self.revision, message.clone()));
        Placement::Wait { reason, message }
    }

    fn why_not(&self, known: &Known) -> String {
        let present = || {
            let sites = self.by_name.values().map(|number| &self.sites[*number]);
            sites.filter_map(|site| Some((site, site.facts.as_ref()?)))
        };
        match &known.requirements.refusal {
            Some(Refusal::Gated) => {
                return "Scheduling is blocked due to non-empty scheduling gates".to_owned();
            }
            _ if present().next().is_none() => {
                return "no nodes available to schedule pods".to_owned();
            }
            Some(Refusal::Unserved(field)) => {
                return format!(
                    "{field} is not served by this scheduler: remove it, or express it by a \
                     nodeSelector or a required node affinity"
                );
            }
            Some(Refusal::Unreadable(problem)) => return problem.clone(),
            None => {}
        }
        // Only the first kind of reason that applies is told, but every resource that lacks.
        let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
        let mut lacking = vec![0; known.asks.len()];
        let mut full = 0;
        for (site, facts) in present() {
            if let Some(obstacle) = fit::obstacle(&known.requirements, facts) {
                *reasons.entry(obstacle.words(facts)).or_insert(0) += 1;
                continue;
            }
            full += usize::from(site.is_full(self.pods));
            if known.requirements.is_emulated_on(facts) {
                if known
                    .requirements
                    .crowds(site, known.weighed[0].0, &self.rules)
                {
                    let most = self.rules.emulated_processors_per_core;
                    *reasons.entry(crowded(most)).or_insert(0) += 1;
                }
                if let Some(by) = known.requirements.forbidden(site, &self.rules) {
                    *reasons.entry(shared(by)).or_insert(0) += 1;
                }
            }
            for (ask, count) in known.asks.iter().zip(&mut lacking) {
                *count += usize::from(site.lacks(ask));
            }
        }
        reasons.insert("Too many pods".to_owned(), full);
        for (ask, count) in known.asks.iter().zip(lacking) {
            reasons.insert(format!("Insufficient {}", ask.name), count);
        }
        reasons.retain(|_, count| *count > 0);
        fit_error(present().count(), &reasons)
    }
}

/// The best site so far.
#[derive(Default)]
struct Best(Option<(Suitability, usize)>);

impl Best {
    /// Takes a site that is better than those before; one without a suitability does not fit.
    fn consider(&mut self, suitability: Option<Suitability>, sites: &[Site], number: usize) {
        let Some(suitability) = suitability else {
            return;
        };
        let is_better = self.0.is_none_or(|(highest, other)| {
            let first = || name(sites, number) < name(sites, other);
            suitability > highest || (suitability == highest && first())
        });
        if is_better {
            self.0 = Some((suitability, number));
        }
    }
}

fn name(sites: &[Site], number: usize) -> Option<&str> {
    let facts = sites[number].facts.as_ref();
    facts.map(|facts| facts.name.as_str())
}

impl Known {
    /// [`Known::suitability`], remembered until the site changes.
    fn look(&mut self, site: &mut Site, pods: usize, rules: &Rules) -> Option<Suitability> {
        let seen = self.seen[site.number];
        if seen.revision == site.revision {
            return seen.suitability;
        }
        let suitability = self.suitability(site, pods, rules);
        self.seen[site.number] = Seen {
            revision: site.revision,
            suitability,
        };
        suitability
    }

    /// How well a site suits; none if it does not fit. `pods` is that resource's number.
    fn suitability(&self, site: &mut Site, pods: usize, rules: &Rules) -> Option<Suitability> {
        let fixed = site.fixed(self.kind, &self.requirements)?;
        let cpu = self.weighed[0].0;
        let lacks = || site.is_full(pods) || self.asks.iter().any(|it| site.lacks(it));
        let company = || {
            self.requirements.crowds(site, cpu, rules)
                || self.requirements.forbidden(site, rules).is_some()
        };
        if fixed.obstacle.is_some() || lacks() || (fixed.emulated && company()) {
            return None;
        }
        let crowd = self.requirements.guest.as_ref();
        let crowd = crowd.filter(|_| fixed.emulated);
        let left = self
            .weighed
            .map(|(it, asked)| site.left_permille(it, asked));
        Some(Suitability {
            crowd: crowd.map_or(0, |guest| -site.crowd(guest, cpu)),
            room: left.iter().sum(),
            ..fixed.suitability
        })
    }
}

impl Requirements {
    fn is_emulated_on(&self, facts: &Facts) -> bool {
        let guest = self.guest.as_ref();
        let accelerator = guest.and_then(|guest| guest.accelerator(&facts.node));
        accelerator == Some(Accelerator::Tcg)
    }

    /// Whether the guest, emulated there, would be one too many; `cpu` is that resource's number.
    fn crowds(&self, site: &Site, cpu: usize, rules: &Rules) -> bool {
        let most = rules.emulated_processors_per_core;
        let guest = self.guest.as_ref();
        guest.is_some_and(|guest| site.crowded(guest, cpu, most))
    }

    /// Who forbids that the guest, emulated there, joins those that are emulated there.
    fn forbidden<'a>(&self, site: &Site, rules: &'a Rules) -> Option<&'a str> {
        let guest = self.guest.as_ref()?;
        rules.forbids(&guest.namespace, site.tenants())
    }
}

/// Why a node with too many emulated processors takes no more: ours, since kube-scheduler knows of
/// no such thing, and the same for all nodes.
fn crowded(most: u32) -> String {
    format!(
        "node(s) would have more than {most} emulated processors per core (KubeVirt \
         spec.configuration.emulatedProcessorsPerCore)"
    )
}

/// Why an emulated guest may not join others; `by` is the place that says so.
fn shared(by: &str) -> String {
    format!("{SHARED} (forbidden by {by})")
}

/// kube-scheduler's sentence: each reason with the number of nodes it applies to, the strings sorted.
fn fit_error(nodes: usize, reasons: &BTreeMap<String, usize>) -> String {
    let mut told: Vec<String> = reasons
        .iter()
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    told.sort();
    format!("0/{nodes} nodes are available: {}.", told.join(", "))
}

/// The pods this scheduler must find a node for, the most urgent and oldest first.
pub(super) fn waiting<P: AsRef<Pod> + Clone>(
    pods: &[P],
    assumed: &BTreeMap<String, String>,
) -> Vec<P> {
    let is_assumed = |pod: &Pod| {
        pod.metadata
            .uid
            .as_ref()
            .is_some_and(|uid| assumed.contains_key(uid))
    };
    let mut waiting: Vec<P> = pods
        .iter()
        .filter(|pod| wants_a_node(pod.as_ref()) && !is_assumed(pod.as_ref()))
        .cloned()
        .collect();
    waiting.sort_by_cached_key(|pod| {
        let pod = pod.as_ref();
        let priority = pod
            .spec
            .as_ref()
            .and_then(|spec| spec.priority)
            .unwrap_or(0);
        let created = pod.metadata.creation_timestamp.clone();
        (
            std::cmp::Reverse(priority),
            created,
            pod.namespace(),
            pod.name_any(),
        )
    });
    waiting
}

/// Whether it is this scheduler's task to find a node for `pod`.
pub(super) fn wants_a_node(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    spec.node_name.as_deref().unwrap_or_default().is_empty()
        && spec.scheduler_name.as_deref().unwrap_or(SCHEDULER_NAME) == SCHEDULER_NAME
        && pod.metadata.deletion_timestamp.is_none()
        && !is_over(pod)
}

/// Whether a pod's containers have all ended, so that it takes no room.
pub(super) fn is_over(pod: &Pod) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}
