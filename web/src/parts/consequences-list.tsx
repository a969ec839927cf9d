import { Alert, DescriptionList } from '@patternfly/react-core';
import { useEffect, useState } from 'react';

import { Failure } from '../kubernetes/failure';
import { type Consequences, consequencesOf, isEmpty } from '../kubevirt/consequences';
import { t } from '../words/words';
import { Fact } from './fact';

type Known = { is: 'asking' } | { is: 'told'; consequences: Consequences } | { is: 'unserved' } | { is: 'failed'; failure: Failure };

/** What follows if `object` is applied, as the server tells it. */
export function ConsequencesList(props: { object: object }): React.JSX.Element {
  const { object } = props;
  const [known, setKnown] = useState<Known>({ is: 'asking' });
  useEffect(() => {
    let shown = true;
    setKnown({ is: 'asking' });
    consequencesOf(object).then(
      (consequences) => shown && setKnown(consequences === undefined ? { is: 'unserved' } : { is: 'told', consequences }),
      (thrown: unknown) => shown && setKnown({ is: 'failed', failure: Failure.of(thrown) }),
    );
    return () => {
      shown = false;
    };
  }, [object]);

  if (known.is === 'asking') return <p className="av-subtle" role="status">{t('Asking the server what follows…')}</p>;
  if (known.is === 'unserved') return <p className="av-subtle">{t('This server does not tell consequences to the console. Machines that run are never touched; machines that wait are looked at again.')}</p>;
  if (known.is === 'failed') return <Alert variant="warning" isInline isPlain title={t('The consequences are not known: {why}', { why: known.failure.message })} />;
  if (isEmpty(known.consequences)) return <p>{t('No machine is affected.')}</p>;
  const { waiting, running, problems, new: fresh } = known.consequences;
  return (
    <>
      {problems.map((problem) => <Alert key={problem} variant="warning" isInline title={problem} />)}
      <DescriptionList isHorizontal isCompact>
        {fresh !== '' && <Fact term={t('New starts')}>{fresh}</Fact>}
        <Fact term={t('Waiting now')}>{waiting.length === 0 ? t('none') : <Lines lines={waiting} />}</Fact>
        <Fact term={t('Running now')}>{running.length === 0 ? t('none') : <Lines lines={running} />}</Fact>
      </DescriptionList>
    </>
  );
}

/** Lines shown; a cluster may have thousands. */
const MOST = 20;

function Lines(props: { lines: readonly string[] }): React.JSX.Element {
  return (
    <ul>
      {props.lines.slice(0, MOST).map((line) => <li key={line}>{line}</li>)}
      {props.lines.length > MOST && <li>{t('and {n} more', { n: props.lines.length - MOST })}</li>}
    </ul>
  );
}
