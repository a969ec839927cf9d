import { Skeleton } from '@patternfly/react-core';
import { useCallback } from 'react';

import { nodeUsage, summaryOf, type Figures } from '../kubevirt/figures';
import { bytes } from '../words/measures';
import { t } from '../words/words';
import { FailureAlert } from './failure-alert';
import { usePolled } from './poll';
import { SparkLine } from './spark-line';
import { LOOK_EVERY, machineMeasures } from './usage-words';

/** Minutes that the lines show. */
const MINUTES = 60;

/** How busy a node is: its processors, memory and disk now, and the last hour. */
export function NodeUsage(props: { node: string }): React.JSX.Element {
  const { node } = props;
  const load = useCallback((signal: AbortSignal) => nodeUsage(node, MINUTES, signal), [node]);
  const { value, failure, retry } = usePolled(load, LOOK_EVERY);
  if (value === undefined) {
    return failure === undefined
      ? <Skeleton height="6rem" screenreaderText={t('Loading')} />
      : <FailureAlert title={t('What {node} uses cannot be shown', { node })} failure={failure} onRetry={retry} />;
  }
  const { processor } = machineMeasures();
  const { capacity } = value;
  return (
    <div className="av-stack">
      {failure !== undefined && <FailureAlert title={t('What {node} uses cannot be shown', { node })} failure={failure} onRetry={retry} />}
      {capacity === undefined ? (
        <p className="av-subtle">{t('Nothing is measured on {node} yet.', { node })}</p>
      ) : (
        <>
          <Gauge usage={value} name="processor" label={t('Busy processors of {node}', { node })} all={capacity.processor} say={processor.say} />
          <Gauge usage={value} name="memory" label={t('Memory in use on {node}', { node })} all={capacity.memory} say={bytes} />
          <Gauge usage={value} name="disk" label={t('Disk with the data of {node}', { node })} all={capacity.disk} say={bytes} />
        </>
      )}
    </div>
  );
}

function Gauge(props: { usage: Figures; name: string; label: string; all: number | null; say: (value: number) => string }): React.JSX.Element | null {
  const { usage, name, label, all, say } = props;
  const now = usage.latest?.[name] ?? undefined;
  const most = summaryOf(usage.series[name])?.most;
  if (now === undefined || all === null || all <= 0) return null;
  return (
    <div data-usage={name}>
      <label>
        <span className="av-small">{t('{label}: {used} of {all}', { label, used: say(now), all: say(all) })}</span>
        <meter className="av-meter" min={0} max={all} value={Math.min(now, all)} />
      </label>
      <SparkLine
        column={usage.series[name]}
        top={all}
        label={most === undefined ? t('Nothing is known of the last {n} minutes', { n: MINUTES }) : t('At most {most} in the last {n} minutes', { most: say(most), n: MINUTES })}
      />
    </div>
  );
}
