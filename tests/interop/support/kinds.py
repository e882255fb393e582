# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every kind of damage, in one list. Two tests draw from it: check.py (what is
found) and repair.py (what is put right).
"""
import damage
import damage_fields

DAMAGE = [value for module in (damage, damage_fields)
          for name, value in sorted(vars(module).items())
          if name.startswith("damage_") and value.__module__ ==
          module.__name__]
# Those that leave what the header says of the disk: of what could be read
# before something can be said afterwards.
BELOW_HEADER = [kind for kind in DAMAGE if not
                kind.__name__.startswith(("damage_header_",
                                          "damage_extension_"))]
