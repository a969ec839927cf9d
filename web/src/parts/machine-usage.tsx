import { Card, CardBody, CardTitle } from '@patternfly/react-core';
import { Link } from '@tanstack/react-router';
import { useCallback } from 'react';

import type { Machine } from '../kubevirt/machine';
import { isKnownOf, machineUsage, summaryOf, type Figures } from '../kubevirt/figures';
import { t } from '../words/words';
import { FailureAlert } from './failure-alert';
import { usePolled } from './poll';
import { SparkLine } from './spark-line';
import { givenTo, LOOK_EVERY, machineMeasures, type Measure } from './usage-words';

/** Minutes that the lines show. */
const MINUTES = 15;

/** What a machine uses now, and its last minutes as small lines. */
export function MachineUsageCard(props: { machine: Machine }): React.JSX.Element {
  const { namespace = 'default', name } = props.machine.vm.metadata;
  const load = useCallback((signal: AbortSignal) => machineUsage(namespace, name, MINUTES, signal), [namespace, name]);
  const { value, failure, retry } = usePolled(load, LOOK_EVERY);
  const { processor, memory, diskRead, diskWritten, networkReceived, networkSent } = machineMeasures();
  const given = givenTo(props.machine);
  const rows: [string, Measure, number?][] = [
    [t('Processors'), processor, given.processor],
    [t('Memory'), memory, given.memory],
    [t('Disks, read'), diskRead],
    [t('Disks, written'), diskWritten],
    [t('Network, received'), networkReceived],
    [t('Network, sent'), networkSent],
  ];
  const known = value === undefined ? [] : rows.filter(([, measure]) => isKnownOf(value, [measure.name]));
  return (
    <Card component="section">
      <CardTitle component="h2">{t('What it uses')}</CardTitle>
      <CardBody className="av-stack">
        {failure !== undefined && <FailureAlert title={t('What it uses cannot be shown')} failure={failure} onRetry={retry} />}
        {value === undefined && failure === undefined && <p className="av-subtle">{t('Loading')}</p>}
        {value !== undefined && known.length === 0 && (
          <p className="av-subtle">{props.machine.vmi === undefined ? t('It does not run.') : t('The first figures come within seconds.')}</p>
        )}
        {value !== undefined && known.length > 0 && (
          <dl className="av-usage">
            {known.map(([label, measure, top]) => <UsageRow key={measure.name} label={label} measure={measure} top={top} usage={value} />)}
          </dl>
        )}
        <Link to="/machines/$namespace/$name" params={{ namespace, name }} search={{ tab: 'metrics' }}>{t('All metrics')}</Link>
      </CardBody>
    </Card>
  );
}

function UsageRow(props: { label: string; measure: Measure; top: number | undefined; usage: Figures }): React.JSX.Element {
  const { measure, top, usage } = props;
  const now = usage.latest?.[measure.name] ?? undefined;
  const most = summaryOf(usage.series[measure.name])?.most;
  const shown = now === undefined ? '–' : measure.say(now);
  return (
    <div data-usage={measure.name}>
      <dt>{props.label}</dt>
      <dd className="av-number">{top === undefined || now === undefined ? shown : t('{used} of {all}', { used: shown, all: measure.say(top) })}</dd>
      <dd>
        <SparkLine
          column={usage.series[measure.name]}
          top={top}
          label={most === undefined ? t('Nothing is known of the last {n} minutes', { n: MINUTES }) : t('At most {most} in the last {n} minutes', { most: measure.say(most), n: MINUTES })}
        />
      </dd>
    </div>
  );
}
