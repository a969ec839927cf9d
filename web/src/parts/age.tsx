import { age, moment } from '../words/measures';
import { useNow } from './now';

/** Milliseconds after which ages are told again: every second would draw long tables all the time. */
const EVERY = 10_000;

/** How long ago `time` (RFC 3339) was, kept up to date; the time itself in full under the pointer. */
export function Age(props: { time: string | undefined }): React.JSX.Element {
  const { time } = props;
  return <time dateTime={time} title={moment(time)} className="av-number">{age(time, useNow(EVERY))}</time>;
}
