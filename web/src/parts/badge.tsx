import { Button, Label, Popover } from '@patternfly/react-core';
import { BanIconConfig, BoltIconConfig, HourglassHalfIconConfig, NetworkWiredIconConfig, QuestionCircleIconConfig } from '@patternfly/react-icons';

import type { Badge, Tone } from '../kubevirt/acceleration';
import { t } from '../words/words';
import { LightIcon } from './light-icon';
import { LightLabel } from './light-label';

/** Colour and sign of each tone; the words say the same without either. */
export const BADGE_LOOKS: Readonly<Record<Tone, { color: 'green' | 'blue' | 'orange' | 'red' | 'grey'; icon: React.ReactNode }>> = {
  good: { color: 'green', icon: <LightIcon of={BoltIconConfig} /> },
  notice: { color: 'blue', icon: <LightIcon of={NetworkWiredIconConfig} /> },
  slow: { color: 'orange', icon: <LightIcon of={HourglassHalfIconConfig} /> },
  bad: { color: 'red', icon: <LightIcon of={BanIconConfig} /> },
  unknown: { color: 'grey', icon: <LightIcon of={QuestionCircleIconConfig} /> },
};

/** The badge without its explanation, cheap enough for a table of thousands. */
export function PlainBadge(props: { badge: Badge }): React.JSX.Element {
  const { color, icon } = BADGE_LOOKS[props.badge.tone];
  return (
    <LightLabel color={color} icon={icon}>
      {props.badge.label}
    </LightLabel>
  );
}

/** The pill in the masthead: click for the reason and the way to the settings. */
export function Pill(props: { badge: Badge; onSettings: () => void }): React.JSX.Element {
  const { color, icon } = BADGE_LOOKS[props.badge.tone];
  return (
    <Popover
      headerContent={t('Acceleration of this cluster')}
      bodyContent={<p className="av-wrap">{props.badge.why}</p>}
      footerContent={(hide) => (
        <Button
          variant="link"
          isInline
          onClick={() => {
            hide();
            props.onSettings();
          }}
        >
          {t('Change…')}
        </Button>
      )}
      minWidth="26rem"
    >
      <Label isCompact color={color} icon={icon} onClick={() => undefined}>
        <span className="pf-v6-screen-reader">{t('Acceleration:')} </span>
        {props.badge.label}
      </Label>
    </Popover>
  );
}
