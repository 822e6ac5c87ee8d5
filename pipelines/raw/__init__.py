"""Bayer mosaics and the camera files that hold them."""

# Those of all that LibRaw knows; what it cannot read, such as GoPro's .gpr, it says itself.
_SUFFIXES = """.3fr .ari .arw .bay .bmq .cap .cine .cr2 .cr3 .crw .cs1 .dc2 .dcr .dcs .dng .erf .fff
.gpr .iiq .k25 .kc2 .kdc .mdc .mef .mos .mrw .nef .nrw .orf .ori .pef .ptx .pxn .qtk .raf .raw .rdc
.rw2 .rwl .rwz .sr2 .srf .srw .sti .x3f"""
RAW_SUFFIXES = frozenset(_SUFFIXES.split())
