import { Dropdown, DropdownItem, DropdownList, MenuToggle } from '@patternfly/react-core';
import { useState } from 'react';

import { type Action, ACTIONS, permitted, RIGHTS } from '../kubevirt/actions';
import type { Machine } from '../kubevirt/machine';
import { useWhyNot } from '../session/rights';
import { t } from '../words/words';
import { actionLabel } from './ask';
import { GuardedButton } from './guarded-button';

/** One action of a machine in a menu: disabled with the reason if its state or the user's rights do not allow it. */
export function ActionItem(props: { action: Action; machine: Machine; onAsk: (action: Action, machine: Machine) => void }): React.JSX.Element {
  const { action, machine, onAsk } = props;
  const right = RIGHTS[action];
  const whyNot = useWhyNot(right, machine.vm.metadata.namespace);
  const permission = permitted(action, machine);
  const why = permission.may ? whyNot : permission.why;
  return (
    <DropdownItem
      key={action}
      isAriaDisabled={why !== undefined}
      isDanger={action === 'delete'}
      description={why}
      onClick={() => why === undefined && onAsk(action, machine)}
    >
      {actionLabel(action)}
    </DropdownItem>
  );
}

/** All actions of a machine, as items of a menu. */
export function ActionItems(props: { machine: Machine; onAsk: (action: Action, machine: Machine) => void }): React.JSX.Element {
  return (
    <>
      {ACTIONS.map((action) => (
        <ActionItem key={action} action={action} machine={props.machine} onAsk={props.onAsk} />
      ))}
    </>
  );
}

/** The button for what is most likely wanted: Resume or Start if it can be, else Stop. */
export function QuickAction(props: { machine: Machine; onAsk: (action: Action, machine: Machine) => void }): React.JSX.Element {
  const { machine, onAsk } = props;
  const action = (['resume', 'start'] as const).find((one) => permitted(one, machine).may) ?? 'stop';
  return (
    <GuardedButton right={RIGHTS[action]} namespace={machine.vm.metadata.namespace} variant="secondary" isDisabled={!permitted(action, machine).may} onClick={() => onAsk(action, machine)}>
      {actionLabel(action)}
    </GuardedButton>
  );
}

/** A button that opens the actions of a machine. */
export function ActionsMenu(props: { machine: Machine; onAsk: (action: Action, machine: Machine) => void }): React.JSX.Element {
  const [isOpen, setOpen] = useState(false);
  return (
    <Dropdown
      isOpen={isOpen}
      onOpenChange={setOpen}
      onSelect={() => setOpen(false)}
      toggle={(ref) => (
        <MenuToggle ref={ref} isExpanded={isOpen} onClick={() => setOpen(!isOpen)}>
          {t('Actions')}
        </MenuToggle>
      )}
      popperProps={{ position: 'right' }}
    >
      <DropdownList>
        <ActionItems machine={props.machine} onAsk={props.onAsk} />
      </DropdownList>
    </Dropdown>
  );
}
