import { Alert, Card, CardBody, CardTitle, Progress } from '@patternfly/react-core';
import { CheckCircleIcon, CircleIcon, ExclamationCircleIcon, InProgressIcon, MinusCircleIcon } from '@patternfly/react-icons';

import type { StartTimeline } from '../kubevirt/machine';
import { isDone, remainingOf, type StepShown, stepsOf } from '../kubevirt/timeline';
import { duration, moment } from '../words/measures';
import { t } from '../words/words';
import { useNow } from './now';

const SIGNS: Readonly<Record<StepShown['state'], { icon: React.ReactNode; word: () => string }>> = {
  done: { icon: <CheckCircleIcon color="var(--pf-t--global--icon--color--status--success--default)" />, word: () => t('done') },
  now: { icon: <InProgressIcon color="var(--pf-t--global--icon--color--status--info--default)" />, word: () => t('under way') },
  later: { icon: <CircleIcon />, word: () => t('to come') },
  silent: { icon: <MinusCircleIcon />, word: () => t('no signal') },
  failed: { icon: <ExclamationCircleIcon color="var(--pf-t--global--icon--color--status--danger--default)" />, word: () => t('failed') },
};

/** How a start goes, step by step, beside what is usual for its image. */
export function TimelineCard(props: { timeline: StartTimeline; isOver: boolean }): React.JSX.Element {
  const { timeline, isOver } = props;
  const now = useNow(500);
  const steps = stepsOf(timeline);
  const done = isDone(timeline);
  const elapsed = (now - Date.parse(timeline.startedAt)) / 1000;
  const scale = scaleOf(steps, done || isOver ? 0 : elapsed);
  const rest = remainingOf(timeline, now);
  return (
    <Card component="section" aria-labelledby="timeline-title">
      <CardTitle component="h2" id="timeline-title">{t('Start-up')}</CardTitle>
      <CardBody className="av-stack">
        <div className="av-spread">
          <span className="av-subtle">{t('Asked for at {time}', { time: moment(timeline.startedAt) })}</span>
          {!done && !isOver && <span className="av-number" role="timer">{duration(elapsed)}</span>}
        </div>
        <Progress value={timeline.progressPercent} title={t('Progress')} measureLocation="outside" aria-label={t('Progress of the start')} />
        <p>{estimateWords(timeline, rest, isOver)}</p>
        {timeline.trouble !== undefined && <Alert variant="danger" isInline title={timeline.trouble.reason}>{timeline.trouble.message}</Alert>}
        {timeline.stuck !== undefined && <Alert variant="warning" isInline title={t('No sign of life for a while')}>{timeline.stuck.message}</Alert>}
        <ol className="av-timeline">
          {steps.map((step) => <Step key={step.name} step={step} scale={scale} />)}
        </ol>
      </CardBody>
    </Card>
  );
}

/** From where to where the bars reach, in seconds from the request. */
interface Scale {
  from: number;
  usualFrom: number;
  length: number;
}

/** Bars begin when the machine has a node: it may have waited for hours before, and that is no part of its boot. */
function scaleOf(steps: readonly StepShown[], elapsed: number): Scale {
  const scheduled = steps.find(({ name }) => name === 'scheduled');
  const from = scheduled?.after ?? 0;
  const usualFrom = scheduled?.usual ?? 0;
  const ends = steps.flatMap(({ after, usual }) => [(after ?? 0) - from, (usual ?? 0) - usualFrom]);
  return { from, usualFrom, length: Math.max(...ends, elapsed - from, 1) };
}

function Step(props: { step: StepShown; scale: Scale }): React.JSX.Element {
  const { step, scale } = props;
  const { icon, word } = SIGNS[step.state];
  const percent = (seconds: number): string => `${(100 * Math.max(0, seconds)) / scale.length}%`;
  const end = (step.after ?? 0) - scale.from;
  const start = Math.max(0, end - (step.took ?? 0));
  return (
    <li data-step={step.name} data-state={step.state} className={step.state === 'later' ? 'av-later' : undefined}>
      <span aria-hidden="true">{icon}</span>
      <span>
        {step.label} <span className="pf-v6-screen-reader">{word()}</span>
      </span>
      <span className="av-number">{step.after === undefined ? '' : duration(step.after)}</span>
      {step.note !== '' ? (
        <span className="av-subtle av-small">{step.note}</span>
      ) : (
        <span className="av-bar" aria-hidden="true">
          {step.after !== undefined && end >= 0 && <span className="av-real" style={{ insetInlineStart: percent(start), width: percent(end - start) }} />}
          {step.usual !== undefined && <span className="av-usual" title={t('usually after {time}', { time: duration(step.usual) })} style={{ insetInlineStart: percent(step.usual - scale.usualFrom) }} />}
        </span>
      )}
    </li>
  );
}

function estimateWords(timeline: StartTimeline, rest: { low: number; high: number } | undefined, isOver: boolean): string {
  if (isDone(timeline)) return t('The guest is up.');
  if (isOver) return t('This start has ended.');
  if (timeline.estimate === undefined || rest === undefined) return t('No estimate yet: this image has not been started here before.');
  const { basis } = timeline.estimate;
  if (rest.high === 0) return t('Longer than usual ({basis}).', { basis });
  const between = rest.low < 1 ? duration(rest.high) : `${duration(rest.low)} – ${duration(rest.high)}`;
  return t('Login expected within {time} ({basis}).', { time: between, basis });
}
