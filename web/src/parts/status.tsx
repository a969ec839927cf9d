import { Label } from '@patternfly/react-core';
import { CheckCircleIcon, ExclamationCircleIcon, InProgressIcon, OffIcon, PauseCircleIcon, UnknownIcon } from '@patternfly/react-icons';

import type { PrintableStatus } from '../kubevirt/machine';
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
  running: { color: 'green', icon: <CheckCircleIcon /> },
  moving: { color: 'blue', icon: <InProgressIcon /> },
  stopped: { color: 'grey', icon: <OffIcon /> },
  paused: { color: 'yellow', icon: <PauseCircleIcon /> },
  failed: { color: 'red', icon: <ExclamationCircleIcon /> },
  unknown: { color: 'grey', icon: <UnknownIcon /> },
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
