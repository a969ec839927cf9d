import { Alert } from '@patternfly/react-core';

import { conditionOf } from '../kubernetes/object';
import type { Machine } from '../kubevirt/machine';
import { t } from '../words/words';

/** What the controllers advise about a machine that runs: where it would run better, with whom it shares a node. */
export function MachineAdvice(props: { machine: Machine }): React.JSX.Element {
  const conditions = props.machine.vmi?.status?.conditions;
  const outdated = conditionOf(conditions, 'AcceleratorOutdated');
  const isolation = conditionOf(conditions, 'EmulationIsolation');
  const queued = conditionOf(conditions, 'StartQueued');
  return (
    <>
      {outdated?.status === 'True' && (
        <Alert variant="info" isInline title={t('Started again it would run otherwise')}>{outdated.message}</Alert>
      )}
      {isolation?.status === 'False' && (
        <Alert variant="warning" isInline title={t('It shares its node with emulated guests of other projects')}>{isolation.message}</Alert>
      )}
      {queued?.status === 'True' && <Alert variant="info" isInline title={t('It waits for its turn to boot')}>{queued.message}</Alert>}
    </>
  );
}
