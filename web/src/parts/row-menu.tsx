import { Dropdown, DropdownList, MenuToggle } from '@patternfly/react-core';
import { EllipsisVIcon, EllipsisVIconConfig } from '@patternfly/react-icons';
import { type ReactNode, useEffect, useRef, useState } from 'react';

import { t } from '../words/words';
import { LightIcon } from './light-icon';

/**
 * The menu of a row: a plain button until it is opened, because a thousand real menus would be slow. The real one is
 * put in its place closed, and opened in the next frame: only then does it know where it stands.
 */
export function RowMenu(props: { id: string; isOpen: boolean; open: (key: string | undefined) => void; children: ReactNode }): React.JSX.Element {
  const { id, isOpen, open } = props;
  const label = t('Actions of {name}', { name: id });
  const button = useRef<HTMLButtonElement>(null);
  const wasOpen = useRef(false);
  const [isShown, setShown] = useState(false);
  useEffect(() => {
    if (!isOpen && wasOpen.current) button.current?.focus();
    wasOpen.current = isOpen;
    if (!isOpen) {
      setShown(false);
      return undefined;
    }
    const asked = requestAnimationFrame(() => setShown(true));
    return () => cancelAnimationFrame(asked);
  }, [isOpen]);
  useEffect(() => (isShown ? focusMenu() : undefined), [isShown]);
  if (!isOpen) {
    return (
      <button ref={button} type="button" className="av-kebab" aria-label={label} aria-haspopup="menu" aria-expanded={false} onClick={() => open(id)}>
        <LightIcon of={EllipsisVIconConfig} />
      </button>
    );
  }
  return (
    <Dropdown
      isOpen={isShown}
      onSelect={() => open(undefined)}
      onOpenChange={(stays) => !stays && open(undefined)}
      toggle={(ref) => <MenuToggle ref={ref} variant="plain" isExpanded={isShown} aria-label={label} icon={<EllipsisVIcon />} onClick={() => open(undefined)} />}
      popperProps={{ position: 'right' }}
    >
      <DropdownList>{props.children}</DropdownList>
    </Dropdown>
  );
}

/** Frames in which the menu is expected to be drawn. */
const FRAMES = 30;

/** Moves the focus into the menu as soon as it is drawn, which PatternFly does only for one that its own toggle opens. */
function focusMenu(): () => void {
  let frames = 0;
  let asked = requestAnimationFrame(look);
  function look(): void {
    const item = document.querySelector<HTMLElement>('.pf-v6-c-menu [role="menuitem"]');
    frames += 1;
    if (item !== null) item.focus();
    else if (frames < FRAMES) asked = requestAnimationFrame(look);
  }
  return () => cancelAnimationFrame(asked);
}
