# A shim for tools that expect node-gyp: the one target calls the CMake build, which is the only description of it.
{
  "targets": [
    {
      "target_name": "nibble",
      "type": "none",
      "actions": [
        {
          "action_name": "cmake",
          "inputs": [],
          "outputs": ["<(module_root_dir)/build/release/Release/nibble.node"],
          "action": ["node", "<(module_root_dir)/tools/build-native.mjs"]
        }
      ]
    }
  ]
}
