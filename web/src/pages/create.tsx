import { ActionGroup, Alert, Button, Card, CardBody, CardTitle, ClipboardCopy, ClipboardCopyVariant, Content, ExpandableSection, Form, PageSection, Skeleton, Switch } from '@patternfly/react-core';
import { useNavigate, useSearch } from '@tanstack/react-router';
import { lazy, Suspense, useMemo, useState } from 'react';

import { Failure } from '../kubernetes/failure';
import { send } from '../kubernetes/request';
import { collectionPath, RESOURCES } from '../kubernetes/resource';
import { CREATE_MACHINE } from '../kubevirt/actions';
import type { VirtualMachine } from '../kubevirt/machine';
import { blank, fieldOf, type Flaws, flawsOf, forecastBy, formOf, manifestOf, type NewMachine } from '../kubevirt/new-machine';
import { FailureAlert } from '../parts/failure-alert';
import { Forecast } from '../parts/forecast';
import { GuardedButton } from '../parts/guarded-button';
import { confirms } from '../parts/keys';
import { notify } from '../parts/notices';
import { oneAtATime } from '../parts/one-at-a-time';
import { useTitle } from '../parts/title';
import { useChosenProject } from '../session/project';
import { ofYaml, toYaml } from '../editor/yaml-text';
import { t } from '../words/words';
import { AccessCard, ImageCard, SizeCard } from './create-cards';
import { MoreCard } from './create-more';

const LiveYaml = lazy(() => import('../editor/live-yaml'));

const NONE: Flaws = {};

/** A YAML text that the form cannot say: the object that it stands for, or what is wrong with it. */
type Beyond = { text: string; object: VirtualMachine } | { text: string; problem: string };

/** A new virtual machine: image, size, access, on one page. */
export function CreatePage(): React.JSX.Element {
  useTitle(t('Create a VirtualMachine'));
  const { project, image = '' } = useSearch({ from: '/create' });
  const navigate = useNavigate();
  const chosen = useChosenProject();
  const wanted = project ?? chosen ?? 'default';
  const [machine, setMachine] = useState<NewMachine>(() => blank(wanted, image));
  const [beyond, setBeyond] = useState<Beyond>();
  const [failure, setFailure] = useState<Failure>();
  const [refused, setRefused] = useState<Flaws>(NONE);
  const [isBusy, setBusy] = useState(false);
  const [run] = useState(oneAtATime);
  const [hasTried, setTried] = useState(false);
  const [isMore, setMore] = useState(false);
  const flaws = flawsOf(machine);
  const manifest = useMemo(() => manifestOf(machine), [machine]);
  // What the editor shows follows the form, not the editor itself: it would lose its place.
  const [put, setPut] = useState(() => ({ content: toYaml(manifest) }));
  const object = beyond === undefined ? manifest : 'object' in beyond ? beyond.object : undefined;
  const show = (next: NewMachine): void => {
    setMachine(next);
    setPut({ content: toYaml(manifestOf(next)) });
  };
  // The masthead's project, chosen while the form is open, is the machine's; one that the YAML names stays.
  const [followed, setFollowed] = useState(wanted);
  if (followed !== wanted) {
    setFollowed(wanted);
    if (beyond === undefined) show({ ...machine, namespace: wanted });
  }
  const set = (part: Partial<NewMachine>): void => {
    show({ ...machine, ...part });
    const changed = Object.keys(part);
    setRefused((before) => Object.fromEntries(Object.entries(before).filter(([key]) => !changed.includes(key) && !(changed.includes('disks') && key.startsWith('disk-')))));
  };

  function typed(text: string): void {
    setRefused(NONE);
    const read = machineIn(text);
    if ('problem' in read) {
      setBeyond({ text, problem: read.problem });
      return;
    }
    const form = formOf(read.object, machine);
    setBeyond(form === undefined ? { text, object: read.object } : undefined);
    if (form !== undefined) setMachine(form);
  }

  async function create(): Promise<void> {
    setTried(true);
    if (object === undefined || (beyond === undefined && Object.keys(flaws).length > 0)) return;
    setBusy(true);
    setFailure(undefined);
    const path = collectionPath(RESOURCES.virtualMachines, object.metadata.namespace ?? machine.namespace);
    try {
      await send(`${path}?dryRun=All`, { method: 'POST', body: object });
      const { body, warnings } = await send<VirtualMachine>(path, { method: 'POST', body: object });
      const { name, namespace = 'default' } = body.metadata;
      for (const warning of warnings) notify({ tone: 'warning', title: name, detail: warning });
      void navigate({ to: '/machines/$namespace/$name', params: { namespace, name } });
    } catch (thrown) {
      const why = Failure.of(thrown);
      setFailure(why);
      setRefused(Object.fromEntries(why.causes.flatMap(({ field, message }) => [[fieldOf(field, object) ?? '', message]]).filter(([key]) => key !== '')));
      setBusy(false);
    }
  }

  const told = beyond !== undefined ? NONE : { ...(hasTried ? flaws : early(flaws)), ...refused };
  const editing = { machine, flaws: told, set };
  return (
    <PageSection isFilled aria-label={t('Create a VirtualMachine')}>
      <div className="av-stack">
        <Content component="h1">{t('Create a VirtualMachine')}</Content>
        <Form
          onSubmit={(event) => { event.preventDefault(); void run(create); }}
          onKeyDown={(event) => { if (!isBusy && confirms(event)) void run(create); }}
        >
          {failure !== undefined && <FailureAlert title={t('The server does not accept this machine')} failure={failure} />}
          {beyond !== undefined && (
            <BeyondAlert beyond={beyond} onBack={() => { setBeyond(undefined); show(machine); }} />
          )}
          <div className="av-two">
            <fieldset className="av-stack av-bare" disabled={beyond !== undefined} aria-label={t('The machine')}>
              <ImageCard {...editing} />
              <SizeCard {...editing} />
              <AccessCard {...editing} />
              <MoreCard {...editing} isOpen={isMore} onToggle={setMore} />
            </fieldset>
            <div className="av-stack av-aside">
              <Card component="section">
                <CardTitle component="h2">{t('Summary')}</CardTitle>
                <CardBody className="av-stack">
                  <Forecast {...forecastBy(machine, beyond === undefined ? undefined : object)} />
                  <Switch id="starts" label={t('Start it now')} isChecked={machine.starts} isDisabled={beyond !== undefined} onChange={(_event, starts) => set({ starts })} />
                  <ActionGroup>
                    <GuardedButton right={CREATE_MACHINE} namespace={object?.metadata.namespace ?? machine.namespace} type="submit" isLoading={isBusy} isDisabled={isBusy || object === undefined}>{t('Create')}</GuardedButton>
                  </ActionGroup>
                  <p className="av-subtle av-small">{t('Ctrl+Enter creates it; the server is asked first whether it would be accepted.')}</p>
                  <ExpandableSection toggleText={t('Show command')}>
                    <ClipboardCopy isReadOnly isCode isExpanded variant={ClipboardCopyVariant.expansion} hoverTip={t('Copy')} clickTip={t('Copied')} textAriaLabel={t('Command that does the same')}>{commandOf(beyond?.text ?? toYaml(manifest))}</ClipboardCopy>
                  </ExpandableSection>
                </CardBody>
              </Card>
              <Card component="section">
                <CardTitle component="h2">YAML</CardTitle>
                <CardBody>
                  <Suspense fallback={<Skeleton height="20rem" screenreaderText={t('Loading')} />}>
                    <LiveYaml text={put} label={t('YAML of the new machine')} onChange={typed} />
                  </Suspense>
                </CardBody>
              </Card>
            </div>
          </div>
        </Form>
      </div>
    </PageSection>
  );
}

/** Flaws that are told before anybody tries: those of what was typed, not of what is still empty. */
function early({ name: _name, image: _image, ...rest }: Flaws): Flaws {
  return rest;
}

/** The virtual machine that a text describes, or why it describes none. */
function machineIn(text: string): { object: VirtualMachine } | { problem: string } {
  const read = ofYaml(text);
  if ('problem' in read) return read;
  const { kind } = read.object;
  if (kind !== 'VirtualMachine') return { problem: t('kind must be VirtualMachine, not {kind}', { kind: String(kind) }) };
  return { object: read.object as VirtualMachine };
}

/** The same as a command. The word that ends the text is no line of YAML: each has a colon, a hyphen or an indent. */
function commandOf(yaml: string): string {
  return `kubectl apply -f - <<'EOF'\n${yaml.endsWith('\n') ? yaml : `${yaml}\n`}EOF`;
}

/** Tells that the YAML says what the form cannot, and the way back. */
function BeyondAlert(props: { beyond: Beyond; onBack: () => void }): React.JSX.Element {
  const { beyond } = props;
  const back = <Button variant="link" isInline onClick={props.onBack}>{t('Back to what the form says')}</Button>;
  return 'problem' in beyond ? (
    <Alert variant="danger" isInline title={t('The YAML cannot be read: {why}', { why: beyond.problem })} actionLinks={back} />
  ) : (
    <Alert variant="info" isInline title={t('The YAML says what the form cannot; the machine is made as the YAML says')} actionLinks={back} />
  );
}
