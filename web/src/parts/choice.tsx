import { MenuToggle, Select, SelectList, SelectOption } from '@patternfly/react-core';
import { useState } from 'react';

/** A drop-down with one choice. `undefined` stands for no choice, shown as `all`. */
export function Choice<V extends string>(props: {
  label: string;
  all: string;
  value: V | undefined;
  options: readonly { value: V; label: string }[];
  onChange: (value: V | undefined) => void;
}): React.JSX.Element {
  const [isOpen, setOpen] = useState(false);
  const shown = props.options.find((option) => option.value === props.value)?.label ?? props.value ?? props.all;
  return (
    <Select
      isOpen={isOpen}
      selected={props.value ?? ''}
      onOpenChange={setOpen}
      onSelect={(_event, value) => {
        setOpen(false);
        props.onChange(value === '' ? undefined : (value as V));
      }}
      isScrollable
      aria-label={props.label}
      toggle={(ref) => (
        <MenuToggle ref={ref} isExpanded={isOpen} aria-label={`${props.label}: ${shown}`} onClick={() => setOpen(!isOpen)}>
          {props.label}: {shown}
        </MenuToggle>
      )}
    >
      <SelectList>
        <SelectOption value="">{props.all}</SelectOption>
        {props.options.map((option) => (
          <SelectOption key={option.value} value={option.value}>
            {option.label}
          </SelectOption>
        ))}
      </SelectList>
    </Select>
  );
}
