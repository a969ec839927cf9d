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
  const longest = Math.max(
    ...steps.map((step) => Math.max(step.after ?? 0, step.usual ?? 0)),
    done || isOver ? 0 : elapsed,
    1,
  );
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
          {steps.map((step) => <Step key={step.name} step={step} longest={longest} />)}
        </ol>
      </CardBody>
    </Card>
  );
}

function Step(props: { step: StepShown; longest: number }): React.JSX.Element {
  const { step, longest } = props;
  const { icon, word } = SIGNS[step.state];
  const start = step.after === undefined ? 0 : step.after - (step.took ?? 0);
  const percent = (seconds: number): string => `${(100 * seconds) / longest}%`;
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
          {step.after !== undefined && <span className="av-real" style={{ insetInlineStart: percent(start), width: percent(step.took ?? 0) }} />}
          {step.usual !== undefined && <span className="av-usual" title={t('usually after {time}', { time: duration(step.usual) })} style={{ insetInlineStart: percent(step.usual) }} />}
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
