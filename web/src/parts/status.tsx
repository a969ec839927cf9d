import { Label } from '@patternfly/react-core';
import { CheckCircleIconConfig, ExclamationCircleIconConfig, InProgressIconConfig, OffIconConfig, PauseCircleIconConfig, UnknownIconConfig } from '@patternfly/react-icons';

import type { PrintableStatus } from '../kubevirt/machine';
import { LightIcon } from './light-icon';
import { LightLabel } from './light-label';

type Group = 'running' | 'moving' | 'stopped' | 'paused' | 'failed' | 'unknown';

/** What kind of state each of KubeVirt's words is. */
export function groupOf(status: PrintableStatus): Group {
  switch (status) {
    case 'Running':
      return 'running';
    case 'Stopped':
      return 'stopped';
    case 'Paused':
    case 'Suspended':
      return 'paused';
    case 'Unknown':
      return 'unknown';
    case 'Provisioning':
    case 'Starting':
    case 'Stopping':
    case 'Terminating':
    case 'Migrating':
    case 'WaitingForVolumeBinding':
    case 'WaitingForReceiver':
      return 'moving';
    default:
      return 'failed';
  }
}

const LOOKS: Readonly<Record<Group, { color: 'green' | 'blue' | 'grey' | 'yellow' | 'red'; icon: React.ReactNode }>> = {
  running: { color: 'green', icon: <LightIcon of={CheckCircleIconConfig} /> },
  moving: { color: 'blue', icon: <LightIcon of={InProgressIconConfig} /> },
  stopped: { color: 'grey', icon: <LightIcon of={OffIconConfig} /> },
  paused: { color: 'yellow', icon: <LightIcon of={PauseCircleIconConfig} /> },
  failed: { color: 'red', icon: <LightIcon of={ExclamationCircleIconConfig} /> },
  unknown: { color: 'grey', icon: <LightIcon of={UnknownIconConfig} /> },
};

/** KubeVirt's one word for a machine, untranslated, as every other client shows it. */
export function StatusLabel(props: { status: PrintableStatus; isLarge?: boolean }): React.JSX.Element {
  const { color, icon } = LOOKS[groupOf(props.status)];
  if (props.isLarge !== true) return <LightLabel isOutlined color={color} icon={icon} status={props.status}>{props.status}</LightLabel>;
  return (
    <Label color={color} icon={icon} variant="outline" data-status={props.status}>
      {props.status}
    </Label>
  );
}
