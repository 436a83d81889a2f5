"""How much of a slide a pixel of a published patch shows."""

# Micrometres per pixel. PCam's patches are of level 2 of CAMELYON16's slides (Veeling et al. 2018); IDC's are of slides
# at 40x, reduced by 16 (Cruz-Roa et al. 2014), about 4.
MICRONS_PER_PIXEL = {"pcam": 0.972, "idc": 4.0}
