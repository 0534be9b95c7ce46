"""The napari plugin: the only room that imports napari, qtpy, magicgui, superqt, vispy or pyqtgraph."""
