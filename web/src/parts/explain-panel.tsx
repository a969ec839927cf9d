import { Alert, Card, CardBody, CardTitle, ClipboardCopy, List, ListItem } from '@patternfly/react-core';
import { Link } from '@tanstack/react-router';
import { useEffect, useState } from 'react';

import { Failure } from '../kubernetes/failure';
import { resourceAt } from '../kubernetes/resource';
import { obstacleOf } from '../kubevirt/acceleration';
import { SWITCH_MAP } from '../kubevirt/configuration';
import { type Cure, explain, type Explanation, headline } from '../kubevirt/explanation';
import { type Machine, statusOf } from '../kubevirt/machine';
import { t } from '../words/words';
import { CureDialog } from './cure-dialog';
import { GuardedButton } from './guarded-button';
import { groupOf } from './status';

/** Explains a machine that does not run as it should, and offers what helps. Nothing for one that does. */
export function ExplainPanel(props: { machine: Machine }): React.JSX.Element {
  // Here, not at the cure: what is being asked stays, though the machine goes on and the cure is offered no more.
  const [asked, setAsked] = useState<Cure>();
  return (
    <>
      <Explained machine={props.machine} onAsk={setAsked} />
      {asked?.action !== undefined && <CureDialog cure={asked} action={asked.action} onClose={() => setAsked(undefined)} />}
    </>
  );
}

function Explained(props: { machine: Machine; onAsk: (cure: Cure) => void }): React.JSX.Element | null {
  const { machine, onAsk } = props;
  const { namespace = 'default', name } = machine.vm.metadata;
  const status = statusOf(machine);
  const timeline = machine.vmi?.status?.startTimeline;
  const isWrong = groupOf(status) === 'failed' || status === 'Unknown' || timeline?.stuck !== undefined || timeline?.trouble !== undefined;
  const obstacle = obstacleOf(machine);
  const { explanation, failure, isUnserved } = useExplanation(isWrong, namespace, name, `${status}|${obstacle ?? ''}`);
  if (!isWrong) return null;
  const words = explanation?.evidence ?? (obstacle === undefined ? [] : [{ source: t('the scheduler'), text: obstacle }]);
  const { title, rest } = headline(explanation?.cause ?? timeline?.trouble?.message ?? timeline?.stuck?.message ?? obstacle ?? t('It is {status}.', { status }));
  return (
    <Card component="section" aria-labelledby="explain-title">
      <CardTitle component="h2" id="explain-title">{t('Why {name} does not run', { name })}</CardTitle>
      <CardBody className="av-stack">
        <Alert variant="danger" isInline title={title}>{rest === '' ? undefined : <p className="av-wrap">{rest}</p>}</Alert>
        {isUnserved && <p className="av-subtle">{t('This server does not explain failures to the console. In a terminal: anyvirt explain {name}', { name })}</p>}
        {failure !== undefined && <p className="av-subtle av-wrap">{failure.message}</p>}
        {words.map(({ source, text }) => (
          <div key={`${source}|${text}`}>
            {source !== '' && <p className="av-small av-subtle">{t('Says {source}:', { source })}</p>}
            <ClipboardCopy isReadOnly isBlock hoverTip={t('Copy')} clickTip={t('Copied')} textAriaLabel={t('Word for word')}>{text}</ClipboardCopy>
          </div>
        ))}
        {explanation !== undefined && explanation.cures.length > 0 && (
          <>
            <h3>{t('What helps, the best first')}</h3>
            <ol className="av-stack">
              {explanation.cures.map((cure) => <CureItem key={cure.title} cure={cure} onAsk={() => onAsk(cure)} />)}
            </ol>
          </>
        )}
        {isUnserved && obstacle !== undefined && /devices\.kubevirt\.io/.test(obstacle) && (
          <List isPlain>
            <ListItem><Link to="/settings">{t('Permit emulation in the settings')}</Link></ListItem>
            <ListItem>
              <Link to="/k8s/ns/$namespace/$plural/$name" params={{ namespace: SWITCH_MAP.namespace, plural: 'configmaps', name: SWITCH_MAP.name }} search={{ tab: 'yaml' }}>
                {t('Edit the ConfigMap kubevirt-config, as in the article')}
              </Link>
            </ListItem>
          </List>
        )}
      </CardBody>
    </Card>
  );
}

/** Asks again whenever `state` changes. */
function useExplanation(isWanted: boolean, namespace: string, name: string, state: string): {
  explanation: Explanation | undefined;
  failure: Failure | undefined;
  isUnserved: boolean;
} {
  const [explanation, setExplanation] = useState<Explanation>();
  const [failure, setFailure] = useState<Failure>();
  const [isUnserved, setUnserved] = useState(false);
  useEffect(() => {
    if (!isWanted) return undefined;
    const stop = new AbortController();
    explain(namespace, name, stop.signal).then(
      (answer) => {
        if (stop.signal.aborted) return;
        setExplanation(answer);
        setUnserved(answer === undefined);
        setFailure(undefined);
      },
      (thrown: unknown) => {
        if (!stop.signal.aborted) setFailure(Failure.of(thrown));
      },
    );
    return () => stop.abort();
  }, [isWanted, namespace, name, state]);
  return { explanation, failure, isUnserved };
}

function CureItem(props: { cure: Cure; onAsk: () => void }): React.JSX.Element {
  const { cure, onAsk } = props;
  const changed = cure.action === undefined ? undefined : resourceAt(cure.action.path);
  return (
    <li>
      <div className="av-stack">
        <div>
          <strong>{cure.title}</strong>
          <p>{cure.effect}</p>
          <p className="av-subtle av-small">
            {t('Costs: {cost}', { cost: cure.cost })}
            {cure.reversible === true && ` · ${t('can be undone')}`}
          </p>
        </div>
        {cure.command !== undefined && (
          <ClipboardCopy isReadOnly isCode hoverTip={t('Copy')} clickTip={t('Copied')} textAriaLabel={t('Command')}>{cure.command}</ClipboardCopy>
        )}
        {cure.action !== undefined && changed !== undefined && (
          <div><GuardedButton right={{ verb: 'patch', type: changed.type }} namespace={changed.namespace} variant="secondary" onClick={onAsk}>{t('Do it…')}</GuardedButton></div>
        )}
      </div>
    </li>
  );
}
