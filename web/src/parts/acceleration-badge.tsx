import { DescriptionList, Label, Popover } from '@patternfly/react-core';

import { type Badge, badgeOf } from '../kubevirt/acceleration';
import type { Machine } from '../kubevirt/machine';
import { moment } from '../words/measures';
import { t } from '../words/words';
import { BADGE_LOOKS } from './badge';
import { Fact } from './fact';

/** The badge of a machine: click for what, why, since when, and who decided. */
export function AccelerationBadge(props: { machine: Machine }): React.JSX.Element | null {
  const badge = badgeOf(props.machine);
  if (badge === undefined) return null;
  const { color, icon } = BADGE_LOOKS[badge.tone];
  return (
    <Popover
      headerContent={t('Acceleration: {label}', { label: badge.label })}
      bodyContent={<Reasons machine={props.machine} badge={badge} />}
      minWidth="24rem"
    >
      <Label color={color} icon={icon} onClick={() => undefined}>
        <span className="pf-v6-screen-reader">{t('Acceleration:')} </span>
        {badge.label}
      </Label>
    </Popover>
  );
}

function Reasons(props: { machine: Machine; badge: Badge }): React.JSX.Element {
  const told = props.machine.vmi?.status?.accelerator;
  const running = props.machine.vmi?.status?.phaseTransitionTimestamps?.find((one) => one.phase === 'Running');
  return (
    <>
      <p className="av-wrap">{props.badge.why}</p>
      {told !== undefined && (
        <DescriptionList isCompact isHorizontal className="av-gap">
          <Fact term={t('Fact')}>{t('{type}, as QEMU itself says', { type: told.type })}</Fact>
          {running !== undefined && <Fact term={t('Since')}>{moment(running.phaseTransitionTimestamp)}</Fact>}
          {told.policy !== undefined && <Fact term={t('Policy')}>{told.policy}</Fact>}
          {told.decidedBy !== undefined && <Fact term={t('Decided by')}>{told.decidedBy}</Fact>}
          {told.expectedSlowdown !== undefined && (
            <Fact term={t('Speed')}>{t('about {n} times slower than KVM here', { n: told.expectedSlowdown })}</Fact>
          )}
          {(told.considered ?? []).map((one) => (
            <Fact key={one.place} term={one.scope}>
              {one.place}: {one.policy}
            </Fact>
          ))}
          {(told.adjustments ?? []).map((line) => (
            <Fact key={line} term={t('Adjusted')}>
              {line}
            </Fact>
          ))}
        </DescriptionList>
      )}
    </>
  );
}
