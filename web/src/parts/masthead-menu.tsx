import { Dropdown, DropdownList, MenuToggle } from '@patternfly/react-core';
import { type ReactNode, useState } from 'react';

/** A menu of the masthead, behind words. A choice closes it. */
export function MastheadMenu(props: { label: ReactNode; children: ReactNode }): React.JSX.Element {
  const [isOpen, setOpen] = useState(false);
  return (
    <Dropdown
      isOpen={isOpen}
      onOpenChange={setOpen}
      onSelect={() => setOpen(false)}
      toggle={(ref) => (
        <MenuToggle ref={ref} variant="plainText" isExpanded={isOpen} onClick={() => setOpen(!isOpen)}>
          {props.label}
        </MenuToggle>
      )}
      popperProps={{ position: 'right' }}
    >
      <DropdownList>{props.children}</DropdownList>
    </Dropdown>
  );
}
