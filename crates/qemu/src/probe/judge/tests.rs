use super::*;

fn seen(plan: &Plan, stage: Stage, ending: Ending) -> Observation {
    Observation {
        plan: plan.clone(),
        stage: Some(stage),
        ending,
        took: Duration::from_millis(2),
        loop_time: (stage >= Stage::Loop).then_some(Duration::from_micros(20)),
    }
}

fn passed() -> Observation {
    seen(&Plan::whole(), Stage::Timer, Ending::Passed)
}

fn whole(stage: Stage, ending: Ending) -> Observation {
    seen(&Plan::whole(), stage, ending)
}

/// Feeds `script` as the answers to whatever is asked, the last one again and again.
fn judged(script: &[Observation]) -> Verdict {
    judged_with(script, |_| None)
}

/// As [`judged`]; smaller plans are answered by `more`, and pass where it has no answer.
fn judged_with(script: &[Observation], more: impl Fn(&Plan) -> Option<Ending>) -> Verdict {
    let plan = Plan::whole();
    let mut all = Vec::new();
    let mut answers = script.iter().cycle();
    let mut left = script.len();
    loop {
        match next(&plan, &all) {
            Next::Done(verdict) => return verdict,
            Next::Run(asked) if asked == plan => {
                let answer = if left > 1 {
                    answers.next()
                } else {
                    script.last()
                };
                left = left.saturating_sub(1).max(1);
                all.push(answer.expect("a script is not empty").clone());
            }
            Next::Run(asked) => {
                let stage = *asked.stages().last().expect("a plan has stages");
                all.push(seen(&asked, stage, more(&asked).unwrap_or(Ending::Passed)));
            }
        }
        assert!(all.len() <= HEALTHY_RUNS * LATE_TRIES + 2, "{all:?}");
    }
}

#[test]
fn healthy_hardware_is_trusted_after_three_runs() {
    let verdict = judged(&[passed()]);
    assert_eq!((verdict.class, verdict.runs), (Class::Usable, 3));
    assert_eq!(verdict.stage, None);
    assert!(
        verdict.evidence.contains("0.020 ms"),
        "{}",
        verdict.evidence
    );
}

/// The table: how a run ended, and in which stage, against the class.
#[test]
fn each_ending_in_each_stage_has_its_class() {
    let internal = || Ending::InternalError {
        suberror: 1,
        instruction: vec![0x0f, 0x57, 0xc0],
    };
    for stage in Stage::ALL {
        let late = match stage {
            Stage::Timer => Class::NoTimer,
            _ => Class::Hang,
        };
        let endless = match stage {
            Stage::Loop => Class::Slow,
            _ => late,
        };
        for (ending, class) in [
            (internal(), Class::InternalError),
            (Ending::EntryFailed(0x8000_0021), Class::EntryFailed),
            (Ending::Shutdown, Class::GuestFault),
            (Ending::Exception(6), Class::GuestFault),
            (Ending::Other(24), Class::GuestFault),
            (Ending::WrongResult(0x7f), Class::WrongResult),
            (Ending::Ended, Class::WrongResult),
            (Ending::Babble(0xff), Class::WrongResult),
            (Ending::Late, late),
            (Ending::Endless, endless),
            (Ending::Emulated(4_000), Class::GuestKernelEmulated),
        ] {
            let verdict = judged(&[whole(stage, ending.clone())]);
            assert_eq!(verdict.class, class, "{stage} {ending:?}");
            let at = if class == Class::GuestKernelEmulated {
                Stage::Loop
            } else {
                stage
            };
            assert_eq!(verdict.stage.as_deref(), Some(at.name()), "{ending:?}");
            assert!(verdict.evidence.len() > 40, "{}", verdict.evidence);
            assert!(verdict.runs >= 1);
        }
    }
}

#[test]
fn a_kernel_mode_in_software_is_found_with_and_without_a_counter() {
    let unknown = |plan: &Plan| {
        (plan.stages().last() == Some(&Stage::Instructions)).then(|| Ending::InternalError {
            suberror: 1,
            instruction: vec![0x0f, 0x57, 0xc0],
        })
    };
    let counted = judged_with(&[whole(Stage::Loop, Ending::Emulated(1_500))], unknown);
    assert_eq!(counted.class, Class::GuestKernelEmulated);
    assert_eq!(counted.runs, 2, "a counter is proof");
    for words in ["1500 of 40000", "0f 57 c0", "suberror 1"] {
        assert!(counted.evidence.contains(words), "{}", counted.evidence);
    }
    let timed = judged_with(&[whole(Stage::Loop, Ending::Endless)], unknown);
    assert_eq!(
        timed.class,
        Class::GuestKernelEmulated,
        "{}",
        timed.evidence
    );
    assert_eq!(timed.runs as usize, LATE_TRIES + 1);
    // Slow, and yet it knows every instruction.
    let slow = judged(&[whole(Stage::Loop, Ending::Endless)]);
    assert_eq!(slow.class, Class::Slow, "{}", slow.evidence);
    // It stopped before the loop at an instruction that it does not know, and the loop is slow.
    let error = Ending::InternalError {
        suberror: 1,
        instruction: Vec::new(),
    };
    let early = judged_with(&[whole(Stage::LongMode, error)], |plan| {
        (plan.stages().last() == Some(&Stage::Loop)).then_some(Ending::Endless)
    });
    assert_eq!(
        early.class,
        Class::GuestKernelEmulated,
        "{}",
        early.evidence
    );
}

#[test]
fn a_fault_that_comes_now_and_then_is_found_and_told() {
    let refused = whole(Stage::UserMode, Ending::EntryFailed(7));
    for script in [
        [refused.clone(), passed(), passed()],
        [passed(), refused.clone(), passed()],
        [passed(), passed(), refused],
    ] {
        let verdict = judged(&script);
        assert_eq!(verdict.class, Class::EntryFailed);
        assert!(
            verdict.evidence.contains("1 of 3 runs"),
            "{}",
            verdict.evidence
        );
    }
}

/// A busy machine makes a guest late now and then; it must not cost the verdict.
#[test]
fn late_runs_are_forgiven_when_others_pass() {
    let late = || whole(Stage::Timer, Ending::Late);
    let slow = || whole(Stage::Loop, Ending::Endless);
    for script in [
        vec![late(), passed()],
        vec![slow(), slow(), slow(), passed()],
        vec![passed(), late(), late(), late(), passed()],
        vec![late(), passed(), late(), passed(), late(), passed()],
    ] {
        let verdict = judged(&script);
        assert_eq!(verdict.class, Class::Usable, "{}", verdict.evidence);
        assert!(verdict.evidence.contains("busy"), "{}", verdict.evidence);
    }
    let always = judged(&[late()]);
    assert_eq!(
        (always.class, always.runs as usize),
        (Class::NoTimer, LATE_TRIES)
    );
}

#[test]
fn no_further_run_is_begun_when_the_time_is_over() {
    let slow = Observation {
        took: TOTAL_PATIENCE,
        ..whole(Stage::Timer, Ending::Late)
    };
    let verdict = judged(std::slice::from_ref(&slow));
    assert_eq!((verdict.class, verdict.runs), (Class::NoTimer, 1));
    let verdict = judged(&[passed(), slow]);
    assert_eq!((verdict.class, verdict.runs), (Class::Usable, 2));
}

fn obstacle(step: &'static str, number: i32) -> Obstacle {
    Obstacle {
        step,
        number: Some(number),
        error: format!("error {number}"),
        rights: Some("mode 660, user 0, group 108".to_owned()),
    }
}

#[test]
fn each_failed_step_has_its_class() {
    const INVALID: i32 = 22;
    const NO_SUCH_REQUEST: i32 = 25;
    let plain = Hints {
        processor_flag: Some(true),
        module_loaded: true,
        ..Hints::default()
    };
    for (step, number, class) in [
        ("open", NO_ENTRY, Class::DeviceMissing),
        ("open", NO_DEVICE, Class::ModuleAbsent),
        ("open", NO_DEVICE_OR_ADDRESS, Class::ModuleAbsent),
        ("open", ACCESS_DENIED, Class::PermissionDenied),
        ("open", NOT_PERMITTED, Class::PermissionDenied),
        ("open", BUSY, Class::DeviceBusy),
        ("open", INVALID, Class::DeviceBroken),
        ("KVM_GET_API_VERSION", NO_SUCH_REQUEST, Class::DeviceBroken),
        ("KVM_CREATE_VM", BUSY, Class::DeviceBusy),
        ("KVM_CREATE_VM", NO_MEMORY, Class::OutOfMemory),
        ("KVM_CREATE_VM", NOT_PERMITTED, Class::PermissionDenied),
        ("KVM_CREATE_VM", INVALID, Class::SetupFailed),
        ("KVM_CREATE_IRQCHIP", NO_SUCH_REQUEST, Class::SetupFailed),
        ("KVM_RUN", NO_MEMORY, Class::OutOfMemory),
        ("KVM_RUN", BUSY, Class::DeviceBusy),
        ("KVM_RUN", INVALID, Class::EntryFailed),
        ("KVM_RUN", 5, Class::EntryFailed),
    ] {
        let verdict = obstructed(&obstacle(step, number), &plain);
        assert_eq!(verdict.class, class, "{step} {number}");
        assert_eq!(verdict.stage.as_deref(), Some(step));
        assert!(!verdict.evidence.is_empty());
    }
    let denied = obstructed(&obstacle("open", ACCESS_DENIED), &plain);
    assert!(denied.evidence.contains("group 108"), "{}", denied.evidence);
}

#[test]
fn a_missing_device_is_explained_by_the_hints() {
    let hints = |flag, loaded, virtual_machine| Hints {
        processor_flag: Some(flag),
        module_loaded: loaded,
        virtual_machine,
        ..Hints::default()
    };
    for (hints, class) in [
        (hints(true, false, false), Class::ModuleAbsent),
        (hints(true, false, true), Class::ModuleAbsent),
        (hints(true, true, false), Class::DeviceMissing),
        (hints(false, false, true), Class::NestedOff),
        (hints(false, true, true), Class::NestedOff),
        (hints(false, false, false), Class::DisabledByFirmware),
        (
            Hints {
                firmware_disabled: true,
                ..hints(true, false, false)
            },
            Class::DisabledByFirmware,
        ),
        (
            Hints {
                container: true,
                ..hints(true, true, true)
            },
            Class::DeviceMissing,
        ),
    ] {
        let verdict = obstructed(&obstacle("open", NO_ENTRY), &hints);
        assert_eq!(verdict.class, class, "{hints:?}");
        assert!(verdict.evidence.starts_with("there is no /dev/kvm: "));
    }
}

#[test]
fn a_processor_without_such_flags_is_told_nothing_of_them() {
    for (virtual_machine, module_loaded) in
        [(false, false), (false, true), (true, false), (true, true)]
    {
        let hints = Hints {
            virtual_machine,
            module_loaded,
            ..Hints::default()
        };
        let verdict = obstructed(&obstacle("open", NO_ENTRY), &hints);
        assert_eq!(verdict.class, Class::DeviceMissing, "{hints:?}");
        for word in ["vmx", "svm", "kvm_intel", "kvm_amd", "firmware"] {
            assert!(!verdict.evidence.contains(word), "{}", verdict.evidence);
        }
    }
}

#[test]
fn a_kernel_that_never_comes_back_is_dead_at_its_place() {
    let verdict = dead("Timer", Duration::from_millis(700));
    assert_eq!(verdict.class, Class::DeadVcpu);
    assert_eq!(verdict.stage.as_deref(), Some("Timer"));
}
