import { Card, CardBody, CardTitle, EmptyState, EmptyStateBody, Skeleton, ToggleGroup, ToggleGroupItem } from '@patternfly/react-core';
import { useCallback, useState } from 'react';

import { LineChart } from '../charts/line-chart';
import type { Machine } from '../kubevirt/machine';
import { isKnownOf, linesOf, machineUsage, summaryOf, type Figures } from '../kubevirt/figures';
import { FailureAlert } from '../parts/failure-alert';
import { usePolled } from '../parts/poll';
import { givenTo, LOOK_EVERY, machineMeasures, type Measure } from '../parts/usage-words';
import { t } from '../words/words';

/** Minutes that can be shown. */
const RANGES = [5, 15, 60, 360, 1440] as const;
const USUAL = 60;

function rangeLabel(minutes: number): string {
  return minutes < 60 ? t('{n} min', { n: minutes }) : t('{n} h', { n: minutes / 60 });
}

/** What a machine has used of its host, over time. */
export function MachineMetrics(props: { machine: Machine }): React.JSX.Element {
  const { namespace = 'default', name } = props.machine.vm.metadata;
  const [minutes, setMinutes] = useState<number>(USUAL);
  const load = useCallback(async (signal: AbortSignal) => ({ minutes, usage: await machineUsage(namespace, name, minutes, signal) }), [namespace, name, minutes]);
  const { value, failure, retry } = usePolled(load, LOOK_EVERY);
  return (
    <div className="av-stack">
      <div className="av-row">
        <ToggleGroup aria-label={t('Time that is shown')}>
          {RANGES.map((one) => (
            <ToggleGroupItem key={one} text={rangeLabel(one)} buttonId={`range-${one}`} isSelected={one === minutes} onChange={() => setMinutes(one)} />
          ))}
        </ToggleGroup>
        {value !== undefined && <span className="av-subtle av-small">{t('Averages over {n} s; the server remembers a day', { n: value.usage.stepSeconds })}</span>}
      </div>
      {failure !== undefined && <FailureAlert title={t('What it uses cannot be shown')} failure={failure} onRetry={retry} />}
      {value === undefined && failure === undefined && <Skeleton height="20rem" screenreaderText={t('Loading')} />}
      {value !== undefined && <Charts machine={props.machine} usage={value.usage} minutes={value.minutes} />}
    </div>
  );
}

function Charts(props: { machine: Machine; usage: Figures; minutes: number }): React.JSX.Element {
  const { usage, minutes } = props;
  const { processor, memory, diskRead, diskWritten, diskReads, diskWrites, networkReceived, networkSent } = machineMeasures();
  const given = givenTo(props.machine);
  if (!isKnownOf(usage, Object.keys(usage.series))) {
    return (
      <EmptyState titleText={t('Nothing was measured')} headingLevel="h2">
        <EmptyStateBody>
          {props.machine.vmi === undefined ? t('It has not run in this time. Its figures appear seconds after its start.') : t('The first figures come within seconds.')}
        </EmptyStateBody>
      </EmptyState>
    );
  }
  return (
    <div className="av-two">
      <ChartCard title={t('Processors')} note={t('The guest was given {n}. QEMU and its helpers count together.', { n: given.processor })} measures={[processor]} top={given.processor} usage={usage} minutes={minutes} />
      <ChartCard title={t('Memory')} note={t('What the guest has touched is held by the host, with QEMU’s own.')} measures={[memory]} top={given.memory ?? 0} usage={usage} minutes={minutes} />
      <ChartCard title={t('Disks')} measures={[diskRead, diskWritten]} top={1024} usage={usage} minutes={minutes} />
      <ChartCard title={t('Disk operations')} measures={[diskReads, diskWrites]} top={1} usage={usage} minutes={minutes} />
      <ChartCard title={t('Network')} measures={[networkReceived, networkSent]} top={1024} usage={usage} minutes={minutes} />
    </div>
  );
}

function ChartCard(props: { title: string; note?: string; measures: readonly Measure[]; top: number; usage: Figures; minutes: number }): React.JSX.Element {
  const { title, note, measures, top, usage, minutes } = props;
  const [first] = measures;
  const isKnown = isKnownOf(usage, measures.map(({ name }) => name));
  const [times, ...columns] = linesOf(usage, measures.map(({ name }) => name));
  const end = usage.now / 1000;
  return (
    <Card component="section">
      <CardTitle component="h2">{title}</CardTitle>
      <CardBody className="av-stack">
        {note !== undefined && <p className="av-subtle av-small">{note}</p>}
        {!isKnown && <p className="av-subtle">{t('Not counted for this machine.')}</p>}
        {isKnown && first !== undefined && (
          <>
            <LineChart
              label={t('{title} over the last {range}; the table below has its figures', { title, range: rangeLabel(minutes) })}
              times={times}
              lines={measures.map(({ label }, index) => ({ label, values: columns[index] ?? [] }))}
              range={[end - minutes * 60, end]}
              top={top}
              say={first.say}
              areBytes={first.areBytes === true}
            />
            <FigureTable title={title} measures={measures} usage={usage} />
          </>
        )}
      </CardBody>
    </Card>
  );
}

function FigureTable(props: { title: string; measures: readonly Measure[]; usage: Figures }): React.JSX.Element {
  return (
    <div className="av-scroll" role="region" aria-label={t('Figures: {title}', { title: props.title })} tabIndex={0}>
      <table className="av-table">
        <thead>
          <tr>
            <th scope="col">{t('Line')}</th>
            <th scope="col">{t('Now')}</th>
            <th scope="col">{t('Least')}</th>
            <th scope="col">{t('Average')}</th>
            <th scope="col">{t('Most')}</th>
          </tr>
        </thead>
        <tbody>
          {props.measures.map(({ name, label, say }, index) => {
            const summary = summaryOf(props.usage.series[name]);
            const now = props.usage.latest?.[name] ?? undefined;
            const figure = (value: number | undefined): string => (value === undefined ? '–' : say(value));
            return (
              <tr key={name} data-figures={name}>
                <th scope="row"><span className={`av-line av-line-${index + 1}`} aria-hidden="true" /> {label}</th>
                {[now, summary?.least, summary?.average, summary?.most].map((value, column) => <td key={column} className="av-number">{figure(value)}</td>)}
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}
